package nat

import (
	"sort"
	"testing"
	"time"

	"outlive/lab/labtest"
	"outlive/lab/netns"
)

func TestTmpSteps(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		steps := map[string][]float64{}
		var keep []*netns.NS
		for range 40 {
			ns, _ := netns.New()
			keep = append(keep, ns)
			last := time.Now()
			step := func(n string) { steps[n] = append(steps[n], float64(time.Since(last).Microseconds())); last = time.Now() }
			tb, err := openTable(ns)
			if err != nil {
				t.Fatal(err)
			}
			step("1table")
			ev, err := openEvents(ns)
			if err != nil {
				t.Fatal(err)
			}
			step("2events")
			setSysctls(ns, Sysctls(Default()))
			step("3sysctls")
			if err := restore(t.Context(), ns, Rules(Default())); err != nil {
				t.Fatal(err)
			}
			step("4restore")
			compareSysctls(ns, Sysctls(Default()))
			step("5compare")
			tb.close()
			ev.Close()
		}
		for _, k := range []string{"1table", "2events", "3sysctls", "4restore", "5compare"} {
			s := steps[k]
			sort.Float64s(s)
			t.Logf("%s median %.0f us p90 %.0f", k, s[len(s)/2], s[len(s)*9/10])
		}
		for _, k := range keep {
			k.Close()
		}
	})
}
