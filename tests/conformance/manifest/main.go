// Verifies a signed key manifest with Go's own Ed25519 and ML-DSA-65, and prints the manifest that
// was signed, in hex. Its arguments are the root's pin and the file.
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/mldsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log"
	"os"
	"strings"
)

const (
	pinPrefix      = "ugsd-root1:"
	manifestPrefix = "ugsd-manifest1:"
	pinLabel       = "ugsd root pin\x01"
	label          = "ugsd key manifest\x01"
	publicBytes    = ed25519.PublicKeySize + mldsa.MLDSA65PublicKeySize
	headBytes      = publicBytes + ed25519.SignatureSize + mldsa.MLDSA65SignatureSize
)

func decoded(text, prefix string) []byte {
	encoded, found := strings.CutPrefix(strings.TrimSpace(text), prefix)
	if !found {
		log.Fatalf("no %s", prefix)
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil {
		log.Fatal(err)
	}
	return raw
}

func main() {
	log.SetFlags(0)
	text, err := os.ReadFile(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	signed := decoded(string(text), manifestPrefix)
	if len(signed) <= headBytes {
		log.Fatal("too short")
	}
	public, manifest := signed[:publicBytes], signed[headBytes:]
	pin := sha256.Sum256(append([]byte(pinLabel), public...))
	if !bytes.Equal(pin[:], decoded(os.Args[1], pinPrefix)) {
		log.Fatal("another root")
	}
	message := append(append([]byte(label), pin[:]...), manifest...)
	signatures := signed[publicBytes:headBytes]
	edwards := ed25519.PublicKey(public[:ed25519.PublicKeySize])
	if !ed25519.Verify(edwards, message, signatures[:ed25519.SignatureSize]) {
		log.Fatal("Ed25519 does not verify")
	}
	lattice, err := mldsa.NewPublicKey(mldsa.MLDSA65(), public[ed25519.PublicKeySize:])
	if err != nil {
		log.Fatal(err)
	}
	options := &mldsa.Options{Context: label}
	if err := mldsa.Verify(lattice, message, signatures[ed25519.SignatureSize:], options); err != nil {
		log.Fatal("ML-DSA-65 does not verify")
	}
	fmt.Println(hex.EncodeToString(manifest))
}
