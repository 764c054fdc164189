package report

import (
	"fmt"
	"io"
	"strings"

	"outlive/scenarios/verdict"
)

// WriteGitHub writes results for the log of a GitHub workflow: the quiet line of
// each scenario, then an error annotation at the scenario's file and line for
// every expectation that failed or could not be judged. The story is in the
// annotation's text.
func WriteGitHub(w io.Writer, results []Result) error {
	p := &printer{w: w}
	for _, r := range results {
		p.line("%s", quiet(r))
		if len(r.Expectations) == 0 || len(r.Reasons) > 0 {
			p.line("%s", annotation(r.File, 0, string(r.Verdict)+": "+r.Scenario, joinReasons(r)))
			continue
		}
		for _, e := range r.Expectations {
			if e.Verdict == verdict.Pass {
				continue
			}
			p.line("%s", annotation(r.File, e.Line, string(e.Verdict)+": "+r.Scenario, account(e)))
		}
	}
	return p.end("annotations")
}

// account is everything about an expectation that did not pass, over several lines.
func account(e Expectation) string {
	var b strings.Builder
	b.WriteString(e.name())
	if e.Observed != "" {
		b.WriteString(": observed " + e.Observed)
	}
	if e.Why != "" {
		b.WriteString("\n" + e.Why)
	}
	if e.Story != nil {
		b.WriteString("\n\n" + storyText(*e.Story))
	}
	return b.String()
}

// joinReasons says why a scenario was not judged.
func joinReasons(r Result) string {
	if len(r.Reasons) == 0 {
		return r.Sentence
	}
	return strings.Join(r.Reasons, "\n")
}

// annotation is one workflow command. GitHub wants line breaks, and separators in
// properties, percent-encoded.
func annotation(file string, line int, title, text string) string {
	data := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	property := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	var properties []string
	if file != "" {
		properties = append(properties, "file="+property.Replace(clean(file)))
		if line > 0 {
			properties = append(properties, fmt.Sprintf("line=%d", line))
		}
	}
	properties = append(properties, "title="+property.Replace(clean(title)))
	return "::error " + strings.Join(properties, ",") + "::" + data.Replace(clean(text))
}
