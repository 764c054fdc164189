package scenarios_test

import (
	"testing"

	"outlive/lab/labtest"
	"outlive/scenarios"
	"outlive/scenarios/report"
	"outlive/scenarios/verdict"
)

// The test that README shows, with a scenario of the catalogue.
func TestPushSurvivesTheNAT(t *testing.T) {
	sources, err := scenarios.Find([]string{"heartbeat-longer-reset"})
	if err != nil {
		t.Fatal(err)
	}
	s, err := scenarios.Load(sources[0], scenarios.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	result, err := scenarios.Run(t.Context(), s, scenarios.Options{Dir: t.ArtifactDir()})
	labtest.SkipUnsupported(t, err)
	if err != nil {
		t.Fatal(err)
	}
	if result.Verdict != verdict.Pass {
		if err := report.WriteText(t.Output(), *result, report.TextOptions{}); err != nil {
			t.Error(err)
		}
		t.Fail()
	}
}
