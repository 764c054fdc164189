package scenarios

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"outlive/lab"
	"outlive/lab/sandbox/image"
	"outlive/lab/sandbox/qemu"
	"outlive/scenarios/report"
	"outlive/scenarios/verdict"
)

//go:embed self-test.yaml
var selfTestScenario []byte

// Image is a kernel with this program, from which guests are started, and what its
// self-test has found.
type Image struct {
	// Dir is its folder in the cache, and Key what tells it from other images.
	Dir, Key string
	// Kernel is its kernel, and Substitute says that this is not the one that outlive
	// was made with.
	Kernel     string
	Substitute bool
	// SelfTest says whether two runs with the same seed were the same.
	SelfTest report.Repeats
}

// BuildImage makes ready what guests are started from, where it is not yet: the image,
// and its self-test. kernel is a folder with vmlinuz and lib/modules that is used from now
// on; empty means the pinned package. progress is called with what takes a while; nil means
// nobody looks. Runs on the engine warp do the same by themselves, with the kernel chosen last.
func BuildImage(ctx context.Context, kernel string, progress func(string)) (Image, error) {
	if err := image.ChooseKernel(kernel); err != nil {
		return Image{}, err
	}
	o := Options{}
	if progress != nil {
		o.Progress = func(e lab.Event) { progress(e.Text) }
	}
	return o.image(ctx)
}

// selfTested is the self-test of the image that runs use.
func selfTested(ctx context.Context, o Options) (report.Repeats, error) {
	img, err := o.image(ctx)
	return img.SelfTest, err
}

func (o Options) image(ctx context.Context) (Image, error) {
	built, err := image.Build(ctx, image.Options{Progress: func(text string) { o.tell(EventImage, text) }})
	if err != nil {
		return Image{}, err
	}
	defer built.Close()
	img := Image{Dir: built.Dir, Key: built.Key, Kernel: built.Kernel, Substitute: built.Substitute}
	machine, err := qemu.Find()
	if err != nil {
		return img, err
	}
	img.SelfTest, err = o.selfTest(ctx, built.Dir, machine.Version)
	return img, err
}

// selfTestRecord is what a self-test found, as it is kept beside the image.
type selfTestRecord struct {
	// QEMU is the version that it was done with: another one is another machine, and may be
	// exact where this one is not.
	QEMU string `json:"qemu"`
	report.Repeats
}

// recordPrefix begins the names of the records in an image's folder, one for each QEMU.
const recordPrefix = "self-test-"

func recordName(dir, qemu string) string {
	sum := sha256.Sum256([]byte(qemu))
	return filepath.Join(dir, recordPrefix+hex.EncodeToString(sum[:6])+".json")
}

// selfTesting is held while an image is tested: runs at the same time wait for its result.
var selfTesting sync.Mutex

// selfTest reads what the self-test of the image in dir has found, or does it.
func (o Options) selfTest(ctx context.Context, image, qemu string) (report.Repeats, error) {
	selfTesting.Lock()
	defer selfTesting.Unlock()
	name := recordName(image, qemu)
	if record, err := readSelfTest(name); err == nil && record.QEMU == qemu {
		return record.Repeats, nil
	}
	var found report.Repeats
	o.tell(EventImage, "testing it: one scenario, twice")
	dir, err := os.MkdirTemp("", "outlive-self-test-")
	if err != nil {
		return found, fmt.Errorf("making a folder for the self-test: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	s, err := Load(Source{Name: "self-test", Data: selfTestScenario}, LoadOptions{})
	if err != nil {
		return found, fmt.Errorf("the self-test: %w", err)
	}
	result, err := Run(ctx, s, Options{
		Dir: dir, Engine: EngineWarp, Twice: true, Stderr: o.stderr(), warp: realGuests(nil),
		Progress: func(e lab.Event) {
			if e.Kind == EventImage {
				o.tell(e.Kind, e.Text)
			}
		},
	})
	switch {
	case err != nil:
		return found, fmt.Errorf("testing the virtual machine: %w", err)
	case ctx.Err() != nil:
		return found, fmt.Errorf("testing the virtual machine: %w", ctx.Err())
	case result.ExactBy != report.ByTwice, *result.Exact && result.Verdict != verdict.Pass:
		// What a machine does that fails its own test is not to be believed.
		return found, fmt.Errorf("testing the virtual machine: its self-test is %s: %s %v", result.Verdict, result.Sentence, result.Reasons)
	}
	found = report.Repeats{Exact: result.Exact, ExactBy: report.BySelfTest, Difference: result.Difference}
	return found, writeSelfTest(name, selfTestRecord{qemu, found})
}

func readSelfTest(name string) (record selfTestRecord, err error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return record, err
	}
	return record, json.Unmarshal(data, &record)
}

// writeSelfTest writes a record whole or not at all.
func writeSelfTest(name string, record selfTestRecord) error {
	data, err := json.Marshal(record)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*")
	if err == nil {
		_, err = f.Write(append(data, '\n'))
		err = errors.Join(err, f.Close())
		if err == nil {
			err = os.Rename(f.Name(), name)
		}
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}
	if err != nil {
		return fmt.Errorf("keeping what the self-test found: %w", err)
	}
	return nil
}

// SelfTests gives what self-tests of the image in a folder of the cache have found, by
// the version of QEMU.
func SelfTests(dir string) (map[string]report.Repeats, error) {
	files, err := filepath.Glob(filepath.Join(dir, recordPrefix+"*.json"))
	if err != nil {
		return nil, err
	}
	all := map[string]report.Repeats{}
	for _, f := range files {
		record, err := readSelfTest(f)
		if err != nil {
			return nil, fmt.Errorf("reading what a self-test found: %w", err)
		}
		all[record.QEMU] = record.Repeats
	}
	return all, nil
}

// unrunnable says that a program of a scenario cannot run in a guest.
func unrunnable(err error) bool {
	_, is := errors.AsType[*image.Unrunnable](err)
	return is
}
