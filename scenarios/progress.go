package scenarios

import (
	"encoding/json"

	"outlive/lab"
	"outlive/probes/socket"
)

// EventStart is the kind of the event that marks scenario time zero.
const EventStart = kindStart

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
