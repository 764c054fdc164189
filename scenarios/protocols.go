package scenarios

import (
	"slices"

	"outlive/probes/server"
)

// The protocols that have keys of their own in a scenario.
const (
	// lineProtocol is the default. Its built-in server has an idle timeout and heartbeats.
	lineProtocol = "line"
	// mqttProtocol has a version, and a keep alive that the client announces.
	mqttProtocol = "mqtt"
)

// protocolNamed finds a protocol of the registry.
func protocolNamed(name string) (server.Protocol, bool) {
	for _, p := range server.Protocols() {
		if p.Name == name {
			return p, true
		}
	}
	return server.Protocol{}, false
}

func protocolNames() []string {
	var names []string
	for _, p := range server.Protocols() {
		names = append(names, p.Name)
	}
	return names
}

// messages are the words of each protocol that `after` knows, as flow.Live says them.
var messages = map[string][]string{
	lineProtocol: {"hello", "welcome", "ping", "pong", "push", "ack"},
	mqttProtocol: {"connect", "connack", "subscribe", "suback", "pingreq", "pingresp", "publish", "puback", "disconnect"},
}

// protocolEvents are the names that `after` knows: those of TCP and those of the protocol.
func protocolEvents(name string) []string {
	return slices.Concat([]string{"syn", "established"}, messages[name], []string{"fin", "rst"})
}
