package scenarios

import (
	"encoding/json"

	"outlive/lab"
	"outlive/probes/socket"
)

// The kinds of events that those who watch a run look for.
const (
	// EventEngine says which engine was chosen, and why.
	EventEngine = kindEngine
	// EventImage says what is being done to build the image of the warp engine.
	EventImage = kindImage
	// EventStart marks scenario time zero.
	EventStart = kindStart
	// EventProblem says why nothing can be judged; the result repeats it.
	EventProblem = kindProblem
)

// CountConnections keeps the set of connections that devices hold open, by what
// their kernels say; it is fed with every event of a lab in order.
func CountConnections(open map[string]bool, e lab.Event) {
	if e.Kind != kindSocket || e.Host == serverHost {
		return
	}
	var s socket.Event
	if json.Unmarshal(e.Data, &s) != nil {
		return
	}
	key := s.Host + " " + s.Local.String()
	if s.Kind == socket.Opened {
		open[key] = true
	} else {
		delete(open, key)
	}
}
