// SPDX-License-Identifier: Apache-2.0

// A peer of the log, on Go's own golang.org/x/mod/sumdb note and tlog.
//
// It reads one JSON object a line from its input and writes one back; hashes and tiles are hex.
// What Go does not accept gives {"error": "..."}.
package main

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// octets is bytes that JSON shows as hex.
type octets []byte

func (o octets) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, o), nil }

func (o *octets) UnmarshalText(text []byte) (err error) {
	*o, err = hex.DecodeString(string(text))
	return err
}

type request struct {
	Do    string            `json:"do"`
	Key   string            `json:"key"` // a verifier key
	Note  string            `json:"note"`
	Files map[string]octets `json:"files"` // tiles by C2SP's path
	Dir   string            `json:"dir"`   // or a folder of them
	Size  int64             `json:"size"`
	Root  octets            `json:"root"`
	Index int64             `json:"index"`
	Leaf  octets            `json:"leaf"`
	Old   int64             `json:"old"`
	Was   octets            `json:"old_root"`
	Proof []octets          `json:"proof"`
}

type response struct {
	Text  string   `json:"text,omitempty"`
	Proof []octets `json:"proof,omitempty"`
	Leaf  octets   `json:"leaf,omitempty"`
	Error string   `json:"error,omitempty"`
}

// tiles reads tiles of height 8 from memory or from a folder.
type tiles struct {
	dir   string
	files map[string]octets
}

func (t *tiles) Height() int { return 8 }

func (t *tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func (t *tiles) ReadTiles(wanted []tlog.Tile) (data [][]byte, err error) {
	for _, tile := range wanted {
		content, err := t.read(tile)
		if err != nil {
			return nil, err
		}
		data = append(data, content)
	}
	return data, nil
}

// read falls back to the full tile, as tlog-tiles allows, once a partial one has gone.
func (t *tiles) read(tile tlog.Tile) ([]byte, error) {
	width := tile.W * tlog.HashSize
	for _, w := range []int{tile.W, 256} {
		tile.W = w
		data, ok := t.file(c2sp(tile))
		if ok && len(data) >= width {
			return data[:width], nil
		}
	}
	return nil, fmt.Errorf("no tile %s", c2sp(tile))
}

func (t *tiles) file(path string) ([]byte, bool) {
	if t.dir != "" {
		data, err := os.ReadFile(filepath.Join(t.dir, filepath.FromSlash(path)))
		return data, err == nil
	}
	data, ok := t.files[path]
	return data, ok
}

// c2sp is the tile's path in C2SP tlog-tiles: as Go's own, but it names no height, which is 8, and
// calls the level of the records "entries".
func c2sp(tile tlog.Tile) string {
	path := strings.TrimPrefix(tile.Path(), "tile/8/")
	return "tile/" + strings.Replace(path, "data/", "entries/", 1)
}

// witness verifies tlog-cosignature's Ed25519 signatures, for Go's note.Open.
type witness struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func newWitness(vkey string) (*witness, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return nil, errors.New("not a verifier key")
	}
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(key) != 1+ed25519.PublicKeySize || key[0] != 4 {
		return nil, errors.New("not a cosigner's key")
	}
	id := sha256.Sum256(append([]byte(parts[0]+"\n"), key...))
	if hex.EncodeToString(id[:4]) != parts[1] {
		return nil, errors.New("another key id")
	}
	return &witness{parts[0], binary.BigEndian.Uint32(id[:]), key[1:]}, nil
}

func (w *witness) Name() string { return w.name }

func (w *witness) KeyHash() uint32 { return w.hash }

func (w *witness) Verify(text, signature []byte) bool {
	if len(signature) != 8+ed25519.SignatureSize {
		return false
	}
	head := fmt.Sprintf("cosignature/v1\ntime %d\n", binary.BigEndian.Uint64(signature))
	return ed25519.Verify(w.key, append([]byte(head), text...), signature[8:])
}

// tree is that of a signed note, or of a size and a root.
func (r *request) tree() (tree tlog.Tree, err error) {
	if r.Note == "" {
		tree.N, tree.Hash, err = r.Size, hash(r.Root), nil
		return tree, err
	}
	verifier, err := note.NewVerifier(r.Key)
	if err != nil {
		return tree, err
	}
	opened, err := note.Open([]byte(r.Note), note.VerifierList(verifier))
	if err != nil {
		return tree, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() {
		return tree, errors.New("not a checkpoint")
	}
	if tree.N, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		return tree, err
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return tree, errors.New("not a root")
	}
	tree.Hash = hash(root)
	return tree, nil
}

func (t *tiles) answer(r *request) (answer response, err error) {
	switch r.Do {
	case "put":
		for path, data := range r.Files {
			t.files[path] = data
		}
		return answer, nil
	case "dir":
		t.dir = r.Dir
		return answer, nil
	case "open cosigned":
		cosigner, err := newWitness(r.Key)
		if err != nil {
			return answer, err
		}
		_, err = note.Open([]byte(r.Note), note.VerifierList(cosigner))
		return answer, err
	case "check record":
		return answer, tlog.CheckRecord(hashes(r.Proof), r.Size, hash(r.Root), r.Index, hash(r.Leaf))
	case "check tree":
		return answer, tlog.CheckTree(hashes(r.Proof), r.Size, hash(r.Root), r.Old, hash(r.Was))
	}
	tree, err := r.tree()
	if err != nil {
		return answer, err
	}
	reader := tlog.TileHashReader(tree, t)
	switch r.Do {
	case "open":
		answer.Text = fmt.Sprintf("%d %x", tree.N, tree.Hash[:])
	case "read":
		return answer, t.readAll(tree, reader)
	case "prove record":
		proof, err := tlog.ProveRecord(tree.N, r.Index, reader)
		if err != nil {
			return answer, err
		}
		leaf, err := reader.ReadHashes([]int64{tlog.StoredHashIndex(0, r.Index)})
		if err != nil {
			return answer, err
		}
		answer.Proof, answer.Leaf = octetsOf(proof), leaf[0][:]
	case "prove tree":
		proof, err := tlog.ProveTree(tree.N, r.Old, reader)
		if err != nil {
			return answer, err
		}
		answer.Proof = octetsOf(proof)
	default:
		return answer, errors.New("no such request")
	}
	return answer, nil
}

// readAll has Go check every tile against the root, and every entry against its tile.
func (t *tiles) readAll(tree tlog.Tree, reader tlog.HashReader) error {
	if tree.N == 0 {
		return nil
	}
	root, err := tlog.TreeHash(tree.N, reader)
	if err != nil {
		return err
	}
	if root != tree.Hash {
		return errors.New("another root")
	}
	var indexes []int64
	for n := range tree.N {
		indexes = append(indexes, tlog.StoredHashIndex(0, n))
	}
	leaves, err := reader.ReadHashes(indexes)
	if err != nil {
		return err
	}
	for n := int64(0); n < tree.N; n += 256 {
		bundle := tlog.Tile{H: 8, L: -1, N: n / 256, W: int(min(256, tree.N-n))}
		data, ok := t.file(c2sp(bundle))
		if !ok {
			return fmt.Errorf("no %s", c2sp(bundle))
		}
		for i := n; i < n+int64(bundle.W); i++ {
			if len(data) < 2 || len(data) < 2+int(binary.BigEndian.Uint16(data)) {
				return errors.New("a short bundle")
			}
			end := 2 + int(binary.BigEndian.Uint16(data))
			if tlog.RecordHash(data[2:end]) != leaves[i] {
				return fmt.Errorf("entry %d is another", i)
			}
			data = data[end:]
		}
		if len(data) != 0 {
			return errors.New("a long bundle")
		}
	}
	return nil
}

func hash(data []byte) (h tlog.Hash) {
	copy(h[:], data)
	return h
}

func hashes(proof []octets) (found []tlog.Hash) {
	for _, step := range proof {
		found = append(found, hash(step))
	}
	return found
}

func octetsOf(proof []tlog.Hash) (found []octets) {
	for _, step := range proof {
		found = append(found, bytes.Clone(step[:]))
	}
	return found
}

func main() {
	log := &tiles{files: map[string]octets{}}
	input := bufio.NewReader(os.Stdin)
	output := json.NewEncoder(os.Stdout)
	for {
		line, err := input.ReadBytes('\n')
		if err != nil {
			return
		}
		var asked request
		if err := json.Unmarshal(line, &asked); err != nil {
			panic(err)
		}
		answer, err := log.answer(&asked)
		if err != nil {
			answer = response{Error: err.Error()}
		}
		if err := output.Encode(answer); err != nil {
			panic(err)
		}
	}
}
