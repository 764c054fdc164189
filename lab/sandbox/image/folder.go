package image

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// manifestFile is the list of what a finished folder of the cache holds. It is
// written last.
const manifestFile = "manifest.json"

// smallFile is up to which size a file's contents are looked at whenever the folder
// is used; of greater ones only the size is.
const smallFile = 64 << 10

// manifest describes a finished folder of the cache.
type manifest struct {
	// Kernel is the release and, if it says so, the version of its package.
	Kernel string `json:"kernel"`
	// Substitute says that it is not the pinned kernel but a newer one.
	Substitute bool `json:"substitute,omitempty"`
	// Wanted is the identity of the list of modules that were looked for.
	Wanted string `json:"wanted,omitempty"`
	// Files are all files by their paths in the folder.
	Files map[string]sum `json:"files"`
}

// sum is what a file must be.
type sum struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// seal writes the manifest of a folder that has its files, and makes all of it last
// on the disk.
func seal(dir string, m manifest) error {
	m.Files = make(map[string]sum)
	err := filepath.WalkDir(dir, func(full string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		f, err := os.Open(full)
		if err != nil {
			return err
		}
		defer f.Close()
		if d.Type().IsRegular() {
			rel, err := filepath.Rel(dir, full)
			if err != nil {
				return err
			}
			if m.Files[rel], err = sumOf(f); err != nil {
				return err
			}
		}
		return f.Sync()
	})
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(m, "", "\t")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, manifestFile), text)
}

func sumOf(f *os.File) (sum, error) {
	hash := sha256.New()
	n, err := io.Copy(hash, f)
	return sum{Size: n, SHA256: hex.EncodeToString(hash.Sum(nil))}, err
}

// writeFile writes a file and waits until it is on the disk.
func writeFile(name string, data []byte) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

// check says what is wrong with a finished folder: with its files' sizes and the
// contents of the small ones, or with all contents.
func check(dir string, contents bool) (manifest, error) {
	var m manifest
	text, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, fmt.Errorf("reading %s: %w", filepath.Join(dir, manifestFile), err)
	}
	if len(m.Files) == 0 {
		return m, fmt.Errorf("%s lists no files", filepath.Join(dir, manifestFile))
	}
	for name, want := range m.Files {
		if !filepath.IsLocal(name) {
			return m, fmt.Errorf("%s lists %q, which is not in its folder", filepath.Join(dir, manifestFile), name)
		}
		if err := checkFile(filepath.Join(dir, name), want, contents || want.Size <= smallFile); err != nil {
			return m, err
		}
	}
	return m, nil
}

func checkFile(name string, want sum, contents bool) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	if info.Size() != want.Size {
		return fmt.Errorf("%s has %d bytes instead of %d", name, info.Size(), want.Size)
	}
	if !contents {
		return nil
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	got, err := sumOf(f)
	if err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	if got != want {
		return fmt.Errorf("%s has changed since it was made", name)
	}
	return nil
}

// identity is a short name for a list of words: the same for the same words only.
func identity(words ...string) string {
	hash := sha256.New()
	for _, w := range words {
		_, _ = fmt.Fprintf(hash, "%d %s\n", len(w), w)
	}
	return hex.EncodeToString(hash.Sum(nil))[:16]
}

// folders lists the folders of the cache whose names begin with prefix, sorted.
func folders(cache, prefix string) ([]string, error) {
	entries, err := os.ReadDir(cache)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), prefix) {
			all = append(all, filepath.Join(cache, e.Name()))
		}
	}
	slices.Sort(all)
	return all, nil
}

// diskUse is what the files of a folder take on the disk, in bytes; holes in them do
// not count.
func diskUse(dir string) (bytes int64) {
	// What disappears meanwhile takes nothing.
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if info, err := d.Info(); err == nil {
			bytes += allocated(info)
		}
		return nil
	})
	return bytes
}
