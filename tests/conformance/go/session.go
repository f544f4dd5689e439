// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"

	"golang.org/x/crypto/chacha20poly1305"
)

// Sizes and numbers of docs/wire.md.
const (
	typeHello  = 0x01
	typeAnswer = 0x02
	typeFrame  = 0x03

	secretBytes    = 32
	publicKeyBytes = 1216
	helloBytes     = 2386
	answerHead     = 1170
	constantBytes  = 1024
	overheadBytes  = 19
	maxFrames      = 1 << 16
)

var (
	sizes    = []int{128, 256, 512, 1024, 2048, 4096, 8192, 16640}
	kem      = hpke.MLKEM768X25519()
	kdf      = hpke.HKDFSHA256()
	aead     = hpke.ChaCha20Poly1305()
	rejected = errors.New("rejected")
)

// label is one of the document's labels with the channel's version behind it.
func label(text string, version byte) string {
	return "ugsd channel " + text + string([]byte{version})
}

func answerInfo(hello []byte, version byte) []byte {
	hash := sha256.Sum256(hello)
	return append([]byte(label("answer", version)), hash[:]...)
}

// direction is the ratchet of one direction.
type direction struct {
	secret  []byte
	number  uint64
	version byte
}

// next replaces the secret, and gives the cipher and the nonce of the next frame.
func (d *direction) next() (cipher.AEAD, []byte, error) {
	if d.number >= maxFrames {
		return nil, nil, rejected
	}
	derived, err := hkdf.Expand(sha256.New, d.secret, label("frame", d.version), 2*secretBytes)
	if err != nil {
		return nil, nil, err
	}
	d.secret = derived[secretBytes:]
	nonce := make([]byte, chacha20poly1305.NonceSize)
	binary.BigEndian.PutUint64(nonce[4:], d.number)
	d.number++
	frameCipher, err := chacha20poly1305.New(derived[:secretBytes])
	return frameCipher, nonce, err
}

func smallest(message int) (int, error) {
	for _, size := range sizes {
		if message+overheadBytes <= size {
			return size, nil
		}
	}
	return 0, rejected
}

func (d *direction) seal(message []byte, constant bool) ([]byte, error) {
	size, err := smallest(len(message))
	if err != nil {
		return nil, err
	}
	if constant {
		if size > constantBytes {
			return nil, rejected
		}
		size = constantBytes
	}
	frameCipher, nonce, err := d.next()
	if err != nil {
		return nil, err
	}
	plain := make([]byte, size-17)
	binary.BigEndian.PutUint16(plain, uint16(len(message)))
	copy(plain[2:], message)
	header := []byte{typeFrame}
	return frameCipher.Seal(bytes.Clone(header), nonce, plain, header), nil
}

func (d *direction) open(frame []byte) ([]byte, error) {
	if !slices.Contains(sizes, len(frame)) || frame[0] != typeFrame {
		return nil, rejected
	}
	frameCipher, nonce, err := d.next()
	if err != nil {
		return nil, err
	}
	plain, err := frameCipher.Open(nil, nonce, frame[1:], frame[:1])
	if err != nil {
		return nil, err
	}
	length, rest := int(binary.BigEndian.Uint16(plain)), plain[2:]
	if length > len(rest) || len(bytes.Trim(rest[length:], "\x00")) > 0 {
		return nil, rejected
	}
	due, err := smallest(length)
	if err != nil || len(frame) != due && len(frame) != constantBytes {
		return nil, rejected
	}
	return rest[:length], nil
}

// session is what both sides share after the handshake.
type session struct{ toVerifier, toDevice *direction }

func keySchedule(secrets, public, hello, head []byte, version byte) (*session, error) {
	salt := sha256.Sum256(slices.Concat(public, hello, head))
	made := map[string]*direction{}
	for _, name := range []string{"device to verifier", "verifier to device"} {
		secret, err := hkdf.Key(sha256.New, secrets, salt[:], label(name, version), secretBytes)
		if err != nil {
			return nil, err
		}
		made[name] = &direction{secret: secret, version: version}
	}
	return &session{made["device to verifier"], made["verifier to device"]}, nil
}

// answer is the verifier's side of the handshake.
func answer(key hpke.PrivateKey, hello, welcome []byte, version byte) (*session, []byte, error) {
	if len(hello) != helloBytes || hello[0] != typeHello || hello[1] != version {
		return nil, nil, rejected
	}
	offer, err := hpke.Open(key, kdf, aead, []byte(label("hello", version)), hello[2:])
	if err != nil || len(offer) != secretBytes+publicKeyBytes {
		return nil, nil, rejected
	}
	ephemeral, err := kem.NewPublicKey(offer[secretBytes:])
	if err != nil {
		return nil, nil, err
	}
	secret := make([]byte, secretBytes)
	rand.Read(secret)
	sealed, err := hpke.Seal(ephemeral, kdf, aead, answerInfo(hello, version), secret)
	if err != nil {
		return nil, nil, err
	}
	head := append([]byte{typeAnswer, version}, sealed...)
	secrets := slices.Concat(offer[:secretBytes], secret)
	shared, err := keySchedule(secrets, key.PublicKey().Bytes(), hello, head, version)
	if err != nil {
		return nil, nil, err
	}
	frame, err := shared.toDevice.seal(welcome, false)
	return shared, append(head, frame...), err
}

// greeting is a device between its hello and the answer.
type greeting struct {
	pinned, secret, hello []byte
	ephemeral             hpke.PrivateKey
	version               byte
}

func greet(pinned []byte, version byte) (*greeting, error) {
	public, err := kem.NewPublicKey(pinned)
	if err != nil {
		return nil, err
	}
	ephemeral, err := kem.GenerateKey()
	if err != nil {
		return nil, err
	}
	secret := make([]byte, secretBytes)
	rand.Read(secret)
	offer := append(bytes.Clone(secret), ephemeral.PublicKey().Bytes()...)
	sealed, err := hpke.Seal(public, kdf, aead, []byte(label("hello", version)), offer)
	if err != nil {
		return nil, err
	}
	hello := append([]byte{typeHello, version}, sealed...)
	return &greeting{pinned, secret, hello, ephemeral, version}, nil
}

// read takes the answer, and gives the session and the welcome.
func (g *greeting) read(data []byte) (*session, []byte, error) {
	if len(data) < answerHead || data[0] != typeAnswer || data[1] != g.version {
		return nil, nil, rejected
	}
	head, frame := data[:answerHead], data[answerHead:]
	theirs, err := hpke.Open(g.ephemeral, kdf, aead, answerInfo(g.hello, g.version), head[2:])
	if err != nil || len(theirs) != secretBytes {
		return nil, nil, rejected
	}
	shared, err := keySchedule(slices.Concat(g.secret, theirs), g.pinned, g.hello, head, g.version)
	if err != nil {
		return nil, nil, err
	}
	welcome, err := shared.toDevice.open(frame)
	return shared, welcome, err
}
