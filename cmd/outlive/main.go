// Outlive is a network impairment lab for long-lived connections. See README.md.
package main

import (
	"os"

	"outlive/cmd/outlive/internal/cli"
	"outlive/lab/sandbox"
)

func main() {
	sandbox.Main()
	os.Exit(cli.Main(cli.FromProcess()))
}
