// Verifies an exported ledger with golang.org/x/mod/sumdb, of which nothing was written here:
// the signed checkpoint, every tile, every entry, inclusion and consistency proofs.
//
//	sumdb DIR VKEY SIZE
package main

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// folder reads tiles of height 8 from the paths of C2SP tlog-tiles, which leave the height out.
type folder struct{ dir string }

func (f folder) Height() int { return 8 }

func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var data [][]byte
	for _, tile := range tiles {
		path := "tile/" + strings.TrimPrefix(tile.Path(), "tile/8/")
		bytes, err := os.ReadFile(filepath.Join(f.dir, path))
		if err != nil {
			return nil, err
		}
		data = append(data, bytes)
	}
	return data, nil
}

func (f folder) SaveTiles([]tlog.Tile, [][]byte) {}

func main() {
	size, err := strconv.ParseInt(os.Args[3], 10, 64)
	if err == nil {
		err = verify(os.Args[1], os.Args[2], size)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func verify(dir, vkey string, expected int64) error {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return err
	}
	signed, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		return err
	}
	opened, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil {
		return err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() {
		return fmt.Errorf("not a checkpoint of this log: %q", opened.Text)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size != expected {
		return fmt.Errorf("size %s, not %d", lines[1], expected)
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return fmt.Errorf("not a root: %q", lines[2])
	}
	tree := tlog.Tree{N: size, Hash: tlog.Hash(*(*[tlog.HashSize]byte)(root))}
	// Every hash it gives is proven to be in the tree.
	reader := tlog.TileHashReader(tree, folder{dir})

	for number := int64(0); number*256 < size; number++ {
		width := size - number*256
		if width > 256 {
			width = 256
		}
		var indexes []int64
		for i := int64(0); i < width; i++ {
			indexes = append(indexes, tlog.StoredHashIndex(0, number*256+i))
		}
		hashes, err := reader.ReadHashes(indexes)
		if err != nil {
			return err
		}
		tile := tlog.Tile{H: 8, L: 0, N: number, W: int(width)}
		path := "tile/entries/" + strings.TrimPrefix(tile.Path(), "tile/8/0/")
		bundle, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil {
			return err
		}
		for i := range hashes {
			if len(bundle) < 2 {
				return fmt.Errorf("%s is short", path)
			}
			length := int(binary.BigEndian.Uint16(bundle))
			if len(bundle) < 2+length {
				return fmt.Errorf("%s is short", path)
			}
			if tlog.RecordHash(bundle[2:2+length]) != hashes[i] {
				return fmt.Errorf("entry %d is not in the tree", number*256+int64(i))
			}
			bundle = bundle[2+length:]
		}
		if len(bundle) != 0 {
			return fmt.Errorf("%s is long", path)
		}
	}
	for level := 8; size>>level > 0; level += 8 {
		for i := int64(0); i < size>>level; i++ {
			if _, err := reader.ReadHashes([]int64{tlog.StoredHashIndex(level, i)}); err != nil {
				return err
			}
		}
	}
	for _, index := range []int64{0, size / 3, size / 2, size - 1} {
		proof, err := tlog.ProveRecord(size, index, reader)
		if err != nil {
			return err
		}
		leaf, err := reader.ReadHashes([]int64{tlog.StoredHashIndex(0, index)})
		if err != nil {
			return err
		}
		if err := tlog.CheckRecord(proof, size, tree.Hash, index, leaf[0]); err != nil {
			return err
		}
	}
	for _, old := range []int64{1, size / 3, size - 1} {
		proof, err := tlog.ProveTree(size, old, reader)
		if err != nil {
			return err
		}
		hash, err := tlog.TreeHash(old, reader)
		if err != nil {
			return err
		}
		if err := tlog.CheckTree(proof, size, tree.Hash, old, hash); err != nil {
			return err
		}
	}
	return nil
}
