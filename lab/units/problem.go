package units

// Problem is a mistake in one part of a scenario file, found by the package that
// owns the part. The loader adds file, line and column.
type Problem struct {
	// Field is the path of YAML keys to the mistake, relative to the part:
	// "timeouts.tcp_established", or empty for the part itself.
	Field string
	// Text says what is wrong and what would be right.
	Text string
	// Suggestion is a value that was perhaps meant, or empty.
	Suggestion string
}
