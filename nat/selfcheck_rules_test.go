package nat

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Rules of nft are told apart by where they stand.
func TestCompareRulesNFT(t *testing.T) {
	const listing = "table ip nat {\n\tset open {\n\t\ttype ipv4_addr\n\t}\n\n\tchain forward {\n\t\tct state invalid drop\n\t}\n\n\tchain input {\n\t\taccept\n\t}\n}\n"
	for _, c := range []struct {
		name, got string
		want      []string
	}{
		{"the same", listing, nil},
		{"none", "", []string{
			`the rule "table ip nat" is missing`, `the rule "table ip nat set open" is missing`,
			`the rule "table ip nat set open type ipv4_addr" is missing (and 4 more)`,
		}},
		{"in another chain", strings.NewReplacer("ct state invalid drop", "accept", "accept", "ct state invalid drop").Replace(listing), []string{
			`the rule "table ip nat chain forward ct state invalid drop" is missing`, `the rule "table ip nat chain input accept" is missing`,
			`the rule "table ip nat chain forward accept" was not asked for`, `the rule "table ip nat chain input ct state invalid drop" was not asked for`,
		}},
		{"another table", listing + "table ip more {\n}\n", []string{`the rule "table ip more" was not asked for`}},
	} {
		if diff := cmp.Diff(c.want, compareRules(listing, c.got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}
