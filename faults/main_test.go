package faults_test

import (
	"os"
	"testing"

	"outlive/lab/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.Main()
	os.Exit(m.Run())
}
