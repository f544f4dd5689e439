// SPDX-License-Identifier: Apache-2.0

// A peer of the channel that reads messages too, written from docs/wire.md on Go's standard crypto/hpke
// and crypto/hkdf.
//
// It reads one JSON object a line from its input and writes one back; bytes are hex. What it cannot
// do gives {"error": true}, whatever was wrong, and ends the session it was about.
package main

import (
	"bufio"
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/mlkem"
	"encoding/hex"
	"encoding/json"
	"os"
)

// octets is bytes that JSON shows as hex.
type octets []byte

func (o octets) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, o), nil }

func (o *octets) UnmarshalText(text []byte) (err error) {
	*o, err = hex.DecodeString(string(text))
	return err
}

type request struct {
	Do       string `json:"do"`
	Data     octets `json:"data"`    // a flight, a frame, a message or a public key
	Welcome  octets `json:"welcome"` // what the answer carries
	Constant bool   `json:"constant"`
	Version  byte   `json:"version"`

	VerifierKey  octets `json:"verifier_private_key"`
	EphemeralKey octets `json:"ephemeral_private_key"`
	Secret1      octets `json:"secret_1"`
	Hello        octets `json:"hello"`
	Answer       octets `json:"answer"`
}

type response struct {
	Data  octets `json:"data"`
	Error bool   `json:"error"`
}

// peer holds one verifier's key, and one session at a time.
type peer struct {
	key      hpke.PrivateKey
	version  byte
	greeting *greeting
	outgoing *direction
	incoming *direction
}

func main() {
	key, err := kem.GenerateKey()
	if err != nil {
		panic(err)
	}
	us := &peer{key: key, version: 2}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	answers := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var asked request
		var data []byte
		err := json.Unmarshal(lines.Bytes(), &asked)
		if err == nil {
			data, err = us.do(&asked)
		}
		if err != nil {
			us.greeting, us.outgoing, us.incoming = nil, nil, nil
		}
		if err := answers.Encode(response{data, err != nil}); err != nil {
			panic(err)
		}
	}
}

func (p *peer) do(asked *request) ([]byte, error) {
	switch asked.Do {
	case "speak": // another version of the channel
		p.version = asked.Version
		return nil, nil
	case "public": // the key that devices pin
		return p.key.PublicKey().Bytes(), nil
	case "answer": // a device's hello
		shared, data, err := answer(p.key, asked.Data, asked.Welcome, p.version)
		if err != nil {
			return nil, err
		}
		p.outgoing, p.incoming = shared.toDevice, shared.toVerifier
		return data, nil
	case "hello": // to the verifier of this public key
		greeting, err := greet(asked.Data, p.version)
		if err != nil {
			return nil, err
		}
		p.greeting = greeting
		return greeting.hello, nil
	case "read": // a verifier's answer
		return p.read(asked.Data)
	case "replay": // a recorded handshake, as its device
		return p.replay(asked)
	case "decode": // a message, to JSON
		fields, err := decode(asked.Data)
		if err != nil {
			return nil, err
		}
		return json.Marshal(fields)
	case "seal":
		if p.outgoing == nil {
			return nil, rejected
		}
		return p.outgoing.seal(asked.Data, asked.Constant)
	case "open":
		if p.incoming == nil {
			return nil, rejected
		}
		return p.incoming.open(asked.Data)
	}
	return nil, rejected
}

func (p *peer) read(data []byte) ([]byte, error) {
	if p.greeting == nil {
		return nil, rejected
	}
	shared, welcome, err := p.greeting.read(data)
	p.greeting = nil
	if err != nil {
		return nil, err
	}
	p.outgoing, p.incoming = shared.toVerifier, shared.toDevice
	return welcome, nil
}

// replay opens both recorded flights with the private keys, and gives the welcome. The directions are
// then those of the device.
func (p *peer) replay(asked *request) ([]byte, error) {
	static, err := privateKey(asked.VerifierKey)
	if err != nil {
		return nil, err
	}
	ephemeral, err := privateKey(asked.EphemeralKey)
	if err != nil {
		return nil, err
	}
	info := []byte(label("hello", p.version))
	offer, err := hpke.Open(static, kdf, aead, info, asked.Hello[2:])
	if err != nil || string(offer) != string(asked.Secret1)+string(ephemeral.PublicKey().Bytes()) {
		return nil, rejected
	}
	pinned := static.PublicKey().Bytes()
	p.greeting = &greeting{pinned, offer[:secretBytes], asked.Hello, ephemeral, p.version}
	return p.read(asked.Answer)
}

// privateKey is that of ML-KEM-768's seed (64 bytes) and X25519's key (32).
func privateKey(raw []byte) (hpke.PrivateKey, error) {
	if len(raw) != mlkem.SeedSize+32 {
		return nil, rejected
	}
	pq, err := mlkem.NewDecapsulationKey768(raw[:mlkem.SeedSize])
	if err != nil {
		return nil, err
	}
	t, err := ecdh.X25519().NewPrivateKey(raw[mlkem.SeedSize:])
	if err != nil {
		return nil, err
	}
	return hpke.NewHybridPrivateKey(pq, t)
}
