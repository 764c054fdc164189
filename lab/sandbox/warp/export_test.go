package warp

import "time"

// Limited gives a spec other limits than the computed ones, in processor time: one for
// the job, and one for its end when it was asked to.
func (s Spec) Limited(run, stop time.Duration) Spec {
	s.limits = &limits{run, stop}
	return s
}

// Limits gives those of a spec.
func (s Spec) Limits() (run, stop time.Duration) {
	l := s.bounds()
	return l.run, l.stop
}

// TemplateName is a pattern for the folders of templates in an image's.
const TemplateName = templatePrefix + "*"

// PartName is a pattern for those that are being made.
const PartName = partPrefix + "*"
