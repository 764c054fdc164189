package image

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"
)

// wantedModules are the parts of the kernel that the lab uses and that may be
// modules, in the order of loading as far as nothing else decides.
var wantedModules = []string{
	// The lab's network.
	"veth", "bridge", "tun", "ifb", "sch_netem",
	// The NAT: the rules of package nat by way of either kind of iptables' nf_tables
	// backend (older ones translate less), and the table of mappings.
	"nf_conntrack", "nf_conntrack_netlink", "nf_nat", "nf_tables", "nft_chain_nat", "nft_ct", "nft_compat",
	"nft_masq", "nft_nat", "nft_numgen", "nft_hash", "nft_connlimit", "nft_reject_ipv4", "nft_reject_ipv6", "xt_conntrack", "xt_tcpudp", "xt_MASQUERADE", "ipt_REJECT",
	// Sockets as the kernel lists them.
	"inet_diag", "tcp_diag", "udp_diag", "unix_diag",
	// The devices of the machine and what is on them.
	"erofs", "overlay", "libnvdimm", "nfit", "nd_btt", "nd_pmem",
}

// helpfulModules are loaded where they exist: other kernels have them built in, or
// need them though no module says so (libcrc32c asks for an algorithm by name).
var helpfulModules = []string{"crc32c_generic"}

// module is a part of a kernel, ready to be loaded.
type module struct {
	name string
	data []byte
}

// moduleName is the name by which the kernel knows a module, from that of its file
// or from a list of dependencies.
func moduleName(name string) string { return strings.ReplaceAll(name, "-", "_") }

// orderModules reads the wanted modules and those that they depend on, each after
// all that it depends on. read gives a module's contents, builtIn says that the
// kernel has it without; one that is neither is missing, and all of these are
// listed together.
func orderModules(wanted, helpful []string, read func(name string) ([]byte, bool, error), builtIn func(name string) bool) (ordered []module, missing []string, err error) {
	seen := make(map[string]bool)
	var visit func(name string, must bool) error
	visit = func(name string, must bool) error {
		name = moduleName(name)
		if seen[name] {
			return nil
		}
		seen[name] = true
		data, there, err := read(name)
		if err != nil {
			return err
		}
		if !there {
			if must && !builtIn(name) {
				missing = append(missing, name)
			}
			return nil
		}
		data = stripSignature(data)
		needs, err := dependencies(data)
		if err != nil {
			return fmt.Errorf("reading the kernel module %s: %w", name, err)
		}
		for _, n := range needs {
			if err := visit(n, true); err != nil {
				return err
			}
		}
		ordered = append(ordered, module{name: name, data: data})
		return nil
	}
	for _, name := range helpful {
		if err := visit(name, false); err != nil {
			return nil, nil, err
		}
	}
	for _, name := range wanted {
		if err := visit(name, true); err != nil {
			return nil, nil, err
		}
	}
	slices.Sort(missing)
	return ordered, missing, nil
}

// dependencies are the modules that a module needs, as its own text says.
func dependencies(data []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("it has no section .modinfo, so it is no kernel module")
	}
	info, err := io.ReadAll(io.LimitReader(section.Open(), 1<<20))
	if err != nil {
		return nil, err
	}
	var all []string
	for field := range strings.SplitSeq(string(info), "\x00") {
		if list, ok := strings.CutPrefix(field, "depends="); ok {
			for name := range strings.SplitSeq(list, ",") {
				if name != "" {
					all = append(all, moduleName(name))
				}
			}
		}
	}
	return all, nil
}

// stripSignature removes the signature at the end of a module, whose check takes
// 0.2 s of a boot under emulation. The file has been checked against its package.
func stripSignature(data []byte) []byte {
	const magic = "~Module signature appended~\n"
	const header = 12 // struct module_signature
	rest, signed := bytes.CutSuffix(data, []byte(magic))
	if !signed || len(rest) < header {
		return data
	}
	length := int64(binary.BigEndian.Uint32(rest[len(rest)-4:]))
	if length > int64(len(rest)-header) {
		return data
	}
	return rest[:int64(len(rest)-header)-length]
}
