package scenarios

import "outlive/probes/server"

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
