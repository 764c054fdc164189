package image

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// choiceFile, in the cache, holds the folder of the kernel that the user has chosen.
const choiceFile = "own-kernel"

// ChooseKernel makes Build use the kernel in dir from now on instead of the pinned
// package: a folder with vmlinuz (there or in boot) and lib/modules. Empty is the
// package again.
func ChooseKernel(dir string) error {
	cache, err := Cache()
	if err != nil {
		return err
	}
	file := filepath.Join(cache, choiceFile)
	if dir == "" {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("returning to the pinned kernel: %w", err)
		}
		return nil
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return fmt.Errorf("finding the kernel: %w", err)
	}
	if _, err := findKernel(dir); err != nil {
		return fmt.Errorf("looking for a kernel in %s: %w", dir, err)
	}
	if err := os.WriteFile(file+".new", []byte(dir), 0o644); err != nil {
		return fmt.Errorf("keeping the choice of a kernel: %w", err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		return fmt.Errorf("keeping the choice of a kernel: %w", err)
	}
	return nil
}

// chosenKernel is the folder of the user's kernel, or empty.
func chosenKernel(cache string) (string, error) {
	text, err := os.ReadFile(filepath.Join(cache, choiceFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("reading which kernel was chosen: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}
