package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// orderFile in the folder of modules names them, one file a line, what another one
// needs before it.
const orderFile = "order"

func loadModules(dir string) error {
	list, err := os.ReadFile(filepath.Join(dir, orderFile))
	if err != nil {
		return fmt.Errorf("reading which modules to load: %w", err)
	}
	names, err := moduleNames(string(list))
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := loadModule(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("loading the module %s: %w", name, err)
		}
	}
	return nil
}

func moduleNames(list string) ([]string, error) {
	var names []string
	for line := range strings.Lines(list) {
		name := strings.TrimSpace(line)
		if name == "" {
			continue
		}
		if !filepath.IsLocal(name) {
			return nil, fmt.Errorf("reading which modules to load: %q is not a file's name", name)
		}
		names = append(names, name)
	}
	return names, nil
}

func loadModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.FinitModule(int(f.Fd()), "", 0)
	// Another module may have asked for it, or the kernel have it built in.
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}
