package lab

import (
	"context"

	"outlive/lab/feature"
	"outlive/lab/netns"
)

// Checks are what a topology needs of the kernel. They are to be tried inside a
// sandbox, where nothing of them is left.
func Checks() []feature.Check {
	tryBuild := func(devices ...string) func(context.Context) (string, error) {
		spec := TopologySpec{Uplinks: []UplinkSpec{{Name: "try", NATs: []string{"router"}}}}
		for _, name := range devices {
			spec.Devices = append(spec.Devices, DeviceSpec{Name: name, Uplinks: []string{"try"}})
		}
		return func(ctx context.Context) (string, error) {
			t, err := Build(ctx, spec)
			if err != nil {
				return "", err
			}
			return "works", t.Close()
		}
	}
	return []feature.Check{
		{Name: "network namespaces", Try: func(context.Context) (string, error) {
			ns, err := netns.New()
			if err != nil {
				return "", err
			}
			return "works", ns.Close()
		}},
		{Name: "virtual Ethernet pairs", Try: tryBuild("one")},
		{Name: "virtual Ethernet bridges", Try: tryBuild("one", "two")},
	}
}
