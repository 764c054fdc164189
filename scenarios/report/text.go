package report

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"outlive/lab/units"
	"outlive/nat"
	"outlive/scenarios/verdict"
)

// TextOptions say how the terminal's text looks.
type TextOptions struct {
	// Colour marks the verdicts with ANSI colours.
	Colour bool
	// Width is the number of columns to keep to; zero means 80, and fewer than 40 count as 40.
	Width int
}

// maxStories is how many stories a text tells; result.json has them all.
const maxStories = 3

// WriteText writes one result for people: the verdict, what happened in a
// sentence, the path, each expectation with what was observed, the stories of the
// connections that matter, and where everything is.
func WriteText(w io.Writer, r Result, o TextOptions) error {
	p := &printer{w: w, colour: o.Colour, width: max(40, o.Width)}
	if o.Width == 0 {
		p.width = 80
	}
	run := fmt.Sprintf("%s on the %s engine, seed %d", length(r.Lab.Scenario), r.Engine, r.Seed)
	p.line("%s  %s  %s", p.paint(r.Verdict, strings.ToUpper(string(r.Verdict))), p.bold(oneLine(r.Scenario)), run)
	p.blank()
	if len(r.Paths) > 0 {
		p.picture(r.Paths, r.NATChecks)
		p.blank()
	}
	if r.Sentence != "" {
		p.wrap("", "", r.Sentence)
		p.blank()
	}
	if len(r.Reasons) > 0 {
		p.line("Nothing can be judged:")
		for _, reason := range r.Reasons {
			p.wrap("  - ", "    ", reason)
		}
		p.blank()
	}
	if len(r.Expectations) > 0 {
		p.expectations(r)
		p.blank()
	}
	stories, more := chosen(r)
	for _, s := range stories {
		p.story(s)
		p.blank()
	}
	if more > 0 {
		p.line("%s", moreStories(more))
		p.blank()
	}
	if words := r.exactness(); words != "" {
		p.wrap("", "  ", words)
	}
	if r.ExactBy == ByTwice {
		// As sha256sum writes them, and reads them with -c.
		for _, name := range slices.Sorted(maps.Keys(r.SHA256)) {
			p.line("%s  %s", r.SHA256[name], oneLine(name))
		}
	}
	if r.Folder != "" {
		p.wrap("Results: ", "  ", r.Folder)
	}
	if r.Command != "" && r.Verdict != verdict.Pass {
		p.wrap("Repeat:  ", "  ", r.Command)
	}
	return p.end("text")
}

// exactness says whether the run can be had again; nothing where nobody has tried.
func (r Repeats) exactness() string {
	switch {
	case r.Exact == nil:
		return ""
	case *r.Exact && r.ExactBy == ByTwice:
		return "Exact: a second run gave the same packets and events, to the nanosecond."
	case *r.Exact:
		return "Exact: the same seed gives the same packets and events, to the nanosecond, by the self-test of the guest's image."
	case r.ExactBy == ByTwice:
		// The reasons have said in what.
		return "Not exact: a second run was another one."
	}
	return "Not exact: in the self-test of the guest's image two runs differed: " + r.Difference + "."
}

// WriteQuiet writes one result as one line.
func WriteQuiet(w io.Writer, r Result) error {
	p := &printer{w: w}
	p.line("%s", quiet(r))
	return p.end("text")
}

// WriteSummary writes how several scenarios came out together; asked is how many
// were to be run.
func WriteSummary(w io.Writer, results []Result, asked int) error {
	p := &printer{w: w}
	counts := map[verdict.Verdict]int{}
	for _, r := range results {
		counts[r.Verdict]++
	}
	text := fmt.Sprintf("%s: %d passed", units.Count(asked, "scenario", "scenarios"), counts[verdict.Pass])
	for _, x := range []struct {
		n    int
		word string
	}{{counts[verdict.Fail], "failed"}, {counts[verdict.Inconclusive], "inconclusive"}, {asked - len(results), "did not run"}} {
		if x.n > 0 {
			text += fmt.Sprintf(", %d %s", x.n, x.word)
		}
	}
	p.line("%s", text)
	for _, v := range []verdict.Verdict{verdict.Fail, verdict.Inconclusive} {
		for _, r := range results {
			if r.Verdict == v {
				p.line("  %-12s  %s", v, oneLine(r.Scenario))
			}
		}
	}
	return p.end("text")
}

// quiet is a result in one line.
func quiet(r Result) string {
	passed, notable := 0, Expectation{}
	for _, e := range r.Expectations {
		switch {
		case e.Verdict == verdict.Pass:
			passed++
		case notable.Expr == "" || e.Verdict == verdict.Fail && notable.Verdict != verdict.Fail:
			notable = e
		}
	}
	text := fmt.Sprintf("%d of %s met", passed, units.Count(len(r.Expectations), "expectation", "expectations"))
	switch {
	case len(r.Reasons) > 0:
		text += "; " + r.Reasons[0]
	case notable.Expr != "":
		text += "; " + strings.TrimSuffix(notable.name()+": "+notable.Observed, ": ")
	}
	return fmt.Sprintf("%-12s  %s  %s", r.Verdict, oneLine(r.Scenario), oneLine(text))
}

// name is the expectation as lists show it.
func (e Expectation) name() string {
	if e.Device == "" {
		return e.Expr
	}
	return e.Device + ": " + e.Expr
}

// chosen are the stories that a reader should see, and how many more there are:
// those of the expectations that did not pass, then the others, each connection once.
func chosen(r Result) (told []verdict.Story, more int) {
	seen := map[int]bool{}
	add := func(s verdict.Story) {
		if !seen[s.Connection] {
			seen[s.Connection] = true
			told = append(told, s)
		}
	}
	for _, v := range []verdict.Verdict{verdict.Fail, verdict.Inconclusive} {
		for _, e := range r.Expectations {
			if e.Story != nil && e.Verdict == v {
				add(*e.Story)
			}
		}
	}
	decisive := len(told)
	for _, s := range r.Stories {
		add(s)
	}
	if all := len(told); all > maxStories {
		// Those of a fleet are much alike: one shows how it goes.
		told = told[:min(max(1, decisive), maxStories)]
		more = all - len(told)
	}
	return told, more
}

func moreStories(n int) string {
	return units.Count(n, "more story is", "more stories are") + " in result.json."
}

// picture draws the way of each uplink, and says what its NATs do and what the lab
// has seen them do.
func (p *printer) picture(paths []Path, checks []nat.CheckResult) {
	for _, path := range paths {
		text := "  " + crowd(path.Devices)
		for _, n := range path.NATs {
			text += " ── " + n.box()
		}
		p.line("%s ── server", clean(text))
	}
	for _, path := range paths {
		for _, n := range path.NATs {
			p.wrap("  ", "  ", n.words())
			if shown := shown(n, checks); shown != "" {
				p.wrap("  ", "  ", shown)
			}
		}
	}
}

// shown says in RFC 4787's words what a NAT was seen to do.
func shown(n NAT, checks []nat.CheckResult) string {
	for _, c := range checks {
		if c.NAT == n.Name && c.Words != "" {
			return "Seen of " + n.box() + ": " + c.Words + "."
		}
	}
	return ""
}

// box is what people call it: "NAT cell", "firewall cell".
func (n NAT) box() string {
	if n.Firewall {
		return "firewall " + n.Name
	}
	return "NAT " + n.Name
}

// words says what the NAT does to connections.
func (n NAT) words() string {
	text := n.box()
	if n.Firewall {
		text = "IPv6 " + text
	}
	if n.Profile != "" {
		text += " (" + n.Profile + ")"
	}
	if n.Idle > 0 {
		text += " forgets an idle connection after " + length(n.Idle)
	} else {
		text += " forgets idle connections"
	}
	lan, wan := lanWords(n.LateLAN), wanWords(n.LateWAN)
	if n.Firewall {
		lan = strings.ReplaceAll(lan, "the mapping", "the state")
	}
	if lan == wan {
		return text + "; late packets from either side are " + lan + "."
	}
	return text + "; a late packet from the device is " + lan + ", one from the server is " + wan + "."
}

func lanWords(l nat.LateLAN) string {
	switch l {
	case nat.LANReset:
		return "answered with a reset"
	case nat.LANRevive:
		return "let through and makes the mapping anew"
	case nat.LANRemap:
		return "let through, from another port"
	}
	return "dropped in silence"
}

func wanWords(w nat.LateWAN) string {
	if w == nat.WANReset {
		return "answered with a reset"
	}
	return "dropped in silence"
}

// crowd names devices, few or many.
func crowd(devices []string) string {
	switch n := len(devices); {
	case n == 0:
		return "(no device)"
	case n <= 3:
		return strings.Join(devices, ", ")
	default:
		return fmt.Sprintf("%s … %s (%d devices)", devices[0], devices[n-1], n)
	}
}

// marks stand before expectations.
var marks = map[verdict.Verdict]string{verdict.Pass: "✓", verdict.Fail: "✗", verdict.Inconclusive: "?"}

func (p *printer) expectations(r Result) {
	longest := 0
	for _, e := range r.Expectations {
		if n := columns(e.name()); n <= p.width/2 {
			longest = max(longest, n)
		}
	}
	for _, e := range r.Expectations {
		observed := e.Observed
		if observed == "" {
			observed = "nothing observed"
		}
		name := oneLine(e.name())
		pad := strings.Repeat(" ", max(0, longest-columns(name)))
		p.line("  %s %s%s  %s", p.paint(e.Verdict, marks[e.Verdict]), name, pad, oneLine(observed))
		// A reason of the whole scenario is told once, above.
		if e.Why != "" && len(r.Reasons) == 0 {
			p.wrap("      ", "      ", e.Why)
		}
	}
}

func (p *printer) story(s verdict.Story) {
	p.wrap("", "  ", s.Title)
	for _, l := range s.Lines {
		lead := fmt.Sprintf("%13s  ", verdict.Instant(l.At))
		p.wrap(lead, strings.Repeat(" ", columns(lead)), l.Text+packet(l))
	}
}

// storyText is a story as plain text, not wrapped.
func storyText(s verdict.Story) string {
	lines := []string{s.Title}
	for _, l := range s.Lines {
		lines = append(lines, fmt.Sprintf("%13s  %s", verdict.Instant(l.At), l.Text+packet(l)))
	}
	return strings.Join(lines, "\n")
}

func packet(l verdict.Line) string {
	if l.Packet == 0 {
		return ""
	}
	return fmt.Sprintf(" (packet %d)", l.Packet)
}

func length(s units.Seconds) string { return units.Duration(s.D().Round(1e6)).String() }
