// Package scenarios is the scenario language and the running of scenarios: Find
// and Load turn files into a checked Scenario, Run runs it in a sandbox and judges
// what came of it.
//
// # The language
//
// A scenario is one YAML file. The least that says something:
//
//	name: slow-heartbeat       # as the file is called, without its ending
//	duration: 30s
//	network:
//	  cell: {nat: {timeouts: {tcp_established: 5s}}}
//	devices:
//	  phone: {heartbeat: {interval: 8s}}
//	expect:
//	  - count(detect.client) == 1
//
// network has the uplinks by name, each with its NAT: the name of a profile
// (nat.Profiles), the path of a profile file beside the scenario, a profile written out, one changed ({profile: linux, late: {wan: drop}}),
// or a list of several in a row, device side first. server and devices have commands
// (run, files) or the settings of the built-in programs. Events happen at a time, or
// after a protocol event ({after: phone.connack, plus: 50ms, push: phone}); one is a
// push to a device or a fault (faults.Kinds) with the fault's own keys beside it.
// What can be expected is in verdict.Parse and verdict.Metrics.
//
// Durations are "250ms", "90s", "4m", "1h30m", "2d", shares "99.5%". A command is a list
// of words, never one text. A device with count is a fleet: phone with count 3 makes
// phone-1, phone-2 and phone-3, a push to phone is one to each of them, and what
// phone expects is expected of each.
//
// Loading is strict. Unknown and duplicate keys, values of the wrong type or unit,
// names that nothing has and combinations that are impossible are errors with their
// place and, where one is near, what was perhaps meant; all of a file in one pass.
// Anchors, aliases, tags and several documents in a file are not part of the
// language. Schema is the same as a JSON Schema, for editors.
package scenarios
