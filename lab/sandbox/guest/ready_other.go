//go:build !amd64

package guest

import (
	"runtime"

	"outlive/lab/feature"
)

func announceReady() error {
	return &feature.Unsupported{
		Feature: "a virtual machine for the lab",
		Needs:   "an outlive for x86-64 as its init; this one is for " + runtime.GOARCH,
		Remedy:  "build outlive with GOARCH=amd64",
	}
}
