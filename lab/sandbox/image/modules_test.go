package image

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// craftModule is a kernel module with the given dependencies, signed or not.
func craftModule(depends string, signed bool) []byte {
	data := crafted{modinfo: "license=GPL\x00depends=" + depends + "\x00intree=Y\x00"}.bytes()
	if signed {
		data = append(data, "signature"...)
		data = append(data, make([]byte, 8)...)
		data = binary.BigEndian.AppendUint32(data, uint32(len("signature")))
		data = append(data, "~Module signature appended~\n"...)
	}
	return data
}

func TestOrderModules(t *testing.T) {
	kernel := map[string]string{
		"veth": "", "nf_nat": "nf_conntrack,libcrc32c", "nf_conntrack": "nf_defrag-ipv4,libcrc32c", "nf_defrag_ipv4": "", "libcrc32c": "",
		"left": "right", "right": "left", "lost": "nosuch", "crc32c_generic": "",
	}
	for _, c := range []struct {
		name                            string
		wanted, helpful, order, missing []string
		builtIn                         string
	}{
		{name: "each after what it needs", wanted: []string{"veth", "nf_nat", "nf_conntrack"},
			order: []string{"veth", "nf_defrag_ipv4", "libcrc32c", "nf_conntrack", "nf_nat"}},
		{name: "dashes are underscores", wanted: []string{"nf-nat"}, order: []string{"nf_defrag_ipv4", "libcrc32c", "nf_conntrack", "nf_nat"}},
		{name: "helpful ones come first", wanted: []string{"libcrc32c"}, helpful: []string{"crc32c_generic", "unknown"}, order: []string{"crc32c_generic", "libcrc32c"}},
		{name: "built in", wanted: []string{"veth", "erofs"}, builtIn: "erofs", order: []string{"veth"}},
		{name: "missing", wanted: []string{"overlay", "veth", "lost", "erofs"}, order: []string{"veth", "lost"}, missing: []string{"erofs", "nosuch", "overlay"}},
		{name: "in a circle", wanted: []string{"left"}, order: []string{"right", "left"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			read := func(name string) ([]byte, bool, error) {
				depends, there := kernel[name]
				return craftModule(depends, true), there, nil
			}
			got, missing, err := orderModules(c.wanted, c.helpful, read, func(name string) bool { return name == c.builtIn })
			if err != nil {
				t.Fatal(err)
			}
			var order []string
			for _, m := range got {
				order = append(order, m.name)
				if bytes.Contains(m.data, []byte("signature")) {
					t.Errorf("%s still has its signature", m.name)
				}
			}
			if diff := cmp.Diff(c.order, order); diff != "" {
				t.Errorf("the order is another one (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.missing, missing); diff != "" {
				t.Errorf("other ones are missing (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOrderModulesErrors(t *testing.T) {
	wrong := errors.New("the disk is on fire")
	_, _, err := orderModules([]string{"veth"}, nil, func(string) ([]byte, bool, error) { return nil, false, wrong }, nil)
	if !errors.Is(err, wrong) {
		t.Errorf("got %v", err)
	}
	for name, data := range map[string][]byte{"not a module": crafted{}.bytes()[:40], "no ELF": []byte("hello")} {
		_, _, err := orderModules([]string{"veth"}, nil, func(string) ([]byte, bool, error) { return data, true, nil }, nil)
		if err == nil || !strings.Contains(err.Error(), "reading the kernel module veth") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestStripSignature(t *testing.T) {
	plain, signed := craftModule("a", false), craftModule("a", true)
	if !bytes.Equal(stripSignature(signed), plain) {
		t.Error("the signature was not removed, or not it alone")
	}
	if !bytes.Equal(stripSignature(plain), plain) {
		t.Error("a module without a signature was changed")
	}
	for _, cut := range []string{"", "short"} {
		torn := []byte(cut + "~Module signature appended~\n")
		if !bytes.Equal(stripSignature(torn), torn) {
			t.Errorf("%q was changed", torn)
		}
	}
}

func FuzzModule(f *testing.F) {
	f.Add(craftModule("a,b", true))
	f.Add(craftModule("", false))
	f.Fuzz(func(t *testing.T, data []byte) {
		stripped := stripSignature(data)
		if !bytes.HasPrefix(data, stripped) {
			t.Error("stripping changed what is left")
		}
		// Only that it ends and does not panic.
		_, _ = dependencies(stripped)
	})
}
