package main_test

import (
	"testing"

	"outlive/lab/labtest"
)

// TestProfilesAsShown: how the catalogue of NAT profiles reads, as a list and one of it.
func TestProfilesAsShown(t *testing.T) {
	for file, args := range map[string][]string{
		"list-nat": {"list", "nat"}, "show-cn-mobile-2g3g": {"show", "cn-mobile-2g3g"},
	} {
		got := runAs(t, nil, t.TempDir(), args...)
		if got.code != 0 || got.stderr != "" {
			t.Errorf("%v: exit code %d\n%s", args, got.code, got.stderr)
			continue
		}
		labtest.Golden(t, "testdata/"+file+".golden", got.stdout)
	}
}
