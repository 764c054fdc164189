package cli

import (
	"fmt"
	"io"
)

// output is stdout. It keeps the first error, so that a result which did not
// arrive is not taken for one that did, wherever in the command line it was
// written. Not safe for concurrent use.
type output struct {
	w   io.Writer
	err error
}

// Write writes to stdout, and after an error nothing more.
func (o *output) Write(b []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	n, err := o.w.Write(b)
	if err != nil {
		o.err = fmt.Errorf("writing to stdout: %w", err)
	}
	return n, o.err
}
