package server

import (
	"fmt"
	"net"

	"outlive/probes/wire"
)

// openLinePublisher says what kind of connection this is.
func openLinePublisher(conn net.Conn) (handFunc, error) {
	lines := wire.NewLineReader(conn)
	if err := wire.WriteLine(conn, wire.Line{Word: wire.Publisher}); err != nil {
		return nil, err
	}
	switch l, err := wire.ReadLine(lines); {
	case err != nil:
		return nil, err
	case l.Word != wire.Ready:
		return nil, fmt.Errorf("the server answered PUBLISHER with %q", l)
	}
	return func(device, id string) (Outcome, error) {
		if err := wire.WriteLine(conn, wire.Line{Word: wire.Publish, Device: device, ID: id, Text: "push"}); err != nil {
			return "", err
		}
		l, err := wire.ReadLine(lines)
		switch {
		case err != nil:
			return "", err
		case l.ID != id:
		case l.Word == wire.OK:
			return Accepted, nil
		case l.Word == wire.Gone:
			return NoConnection, nil
		}
		return "", fmt.Errorf("the server answered PUBLISH %s %s with %q", device, id, l)
	}, nil
}
