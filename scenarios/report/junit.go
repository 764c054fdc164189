package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"outlive/lab/units"
	"outlive/scenarios/verdict"
)

type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Name     string       `xml:"name,attr"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Errors   int          `xml:"errors,attr"`
	Time     string       `xml:"time,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name       string          `xml:"name,attr"`
	Tests      int             `xml:"tests,attr"`
	Failures   int             `xml:"failures,attr"`
	Errors     int             `xml:"errors,attr"`
	Time       string          `xml:"time,attr"`
	Timestamp  string          `xml:"timestamp,attr"`
	Properties []junitProperty `xml:"properties>property"`
	Cases      []junitCase     `xml:"testcase"`
	Out        junitText       `xml:"system-out"`
}

type junitProperty struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

type junitCase struct {
	Name    string       `xml:"name,attr"`
	Class   string       `xml:"classname,attr"`
	File    string       `xml:"file,attr,omitempty"`
	Line    int          `xml:"line,attr,omitempty"`
	Failure *junitDetail `xml:"failure"`
	Error   *junitDetail `xml:"error"`
	Out     *junitText   `xml:"system-out"`
}

type junitDetail struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr"`
	junitText
}

// junitText is text inside an element. It is escaped here and not by the encoder,
// which would write line breaks as character references that nobody can read.
type junitText struct {
	XML string `xml:",innerxml"`
}

func text(s string) junitText {
	var b strings.Builder
	for i, line := range strings.Split(s, "\n") {
		if i > 0 {
			b.WriteByte('\n')
		}
		// Only the writer could fail, and this one does not. What XML cannot hold
		// is replaced, so any bytes make a well-formed file.
		_ = xml.EscapeText(&b, []byte(line))
	}
	return junitText{b.String()}
}

// WriteJUnit writes results as JUnit XML: a test suite for each scenario and a
// test case for each expectation. A failed one is a failure and an inconclusive
// one an error, so that nothing that was not shown is green. A scenario without
// expectations has one case, which is an error.
func WriteJUnit(w io.Writer, results []Result) error {
	all := junitSuites{Name: "outlive"}
	var wall units.Seconds
	for _, r := range results {
		s := suite(r)
		all.Tests += s.Tests
		all.Failures += s.Failures
		all.Errors += s.Errors
		all.Suites = append(all.Suites, s)
		wall += r.Lab.Wall
	}
	all.Time = seconds(wall)
	b, err := xml.MarshalIndent(all, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the results as JUnit XML: %w", err)
	}
	if _, err := fmt.Fprintf(w, "%s%s\n", xml.Header, b); err != nil {
		return fmt.Errorf("writing the results as JUnit XML: %w", err)
	}
	return nil
}

func suite(r Result) junitSuite {
	s := junitSuite{
		Name:      r.Scenario,
		Time:      seconds(r.Lab.Wall),
		Timestamp: ran(r).UTC().Format("2006-01-02T15:04:05"),
		Properties: []junitProperty{
			{"engine", r.Engine},
			{"seed", fmt.Sprint(r.Seed)},
			{"command", r.Command},
			{"folder", r.Folder},
		},
		Out: text(overview(r)),
	}
	if r.Exact != nil {
		s.Properties = append(s.Properties, junitProperty{"exact", fmt.Sprint(*r.Exact)})
	}
	for _, name := range slices.Sorted(maps.Keys(r.SHA256)) {
		s.Properties = append(s.Properties, junitProperty{"sha256." + name, r.SHA256[name]})
	}
	for _, name := range slices.Sorted(maps.Keys(r.Lab.Versions)) {
		s.Properties = append(s.Properties, junitProperty{"version." + name, r.Lab.Versions[name]})
	}
	for _, c := range r.NATChecks {
		if c.Words != "" {
			s.Properties = append(s.Properties, junitProperty{"nat." + c.NAT, c.Words})
		}
	}
	for _, e := range r.Expectations {
		c := junitCase{Name: e.name(), Class: r.Scenario, File: r.File, Line: e.Line}
		detail := &junitDetail{Message: strings.TrimPrefix(e.Observed+": "+e.Why, ": "), Type: string(e.Verdict), junitText: text(account(e))}
		switch e.Verdict {
		case verdict.Pass:
			c.Out = new(text("observed " + e.Observed))
		case verdict.Fail:
			c.Failure = detail
			s.Failures++
		default:
			c.Error = detail
			s.Errors++
		}
		s.Cases = append(s.Cases, c)
	}
	if len(r.Expectations) == 0 {
		s.Errors++
		s.Cases = append(s.Cases, junitCase{
			Name: "expectations", Class: r.Scenario, File: r.File,
			Error: &junitDetail{Message: strings.Join(r.Reasons, "; "), Type: string(r.Verdict), junitText: text(joinReasons(r))},
		})
	}
	s.Tests = len(s.Cases)
	return s
}

// ran is when a run began on the machine's clock. A guest's is another.
func ran(r Result) time.Time {
	if r.Ran.IsZero() {
		return r.Started
	}
	return r.Ran
}

// seconds writes a length of time as JUnit has it.
func seconds(s units.Seconds) string { return fmt.Sprintf("%.3f", s.D().Seconds()) }

// overview is the whole scenario in a few lines of plain text.
func overview(r Result) string {
	parts := []string{r.Sentence}
	if len(r.Reasons) > 0 {
		parts = append(parts, "Nothing can be judged:\n"+strings.Join(r.Reasons, "\n"))
	}
	stories, more := chosen(r)
	for _, s := range stories {
		parts = append(parts, storyText(s))
	}
	if more > 0 {
		parts = append(parts, moreStories(more))
	}
	return strings.Join(parts, "\n\n")
}
