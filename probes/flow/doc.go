// Package flow finds out what happened to connections. It takes a capture of
// every point of a lab and what the lab knows by construction (Truth), and says of each
// connection when it opened, when it could no longer deliver, what it died of,
// who noticed and when, what became of its pushes and heartbeats, and who ended a
// connection that nothing was wrong with.
//
// It is pure: no clock, no network, no files. The same capture and truth always
// give the same Analysis. All times are scenario time.
//
// How it works, one file each: the capture is read into observations (read.go),
// the observations of one packet at several points are tied together, and with
// them the connections over all NATs (join.go); packets get their kind
// (classify.go) and bytes their order (stream.go), decoders find the protocol's
// messages (decode.go, one file per protocol). Against that are held the NATs' mappings
// (lapse.go, crossing.go), the ways in which a side can end (ends.go), and from both follow death,
// notice and closing (death.go, notice.go, closing.go).
//
// What the packets and the lab's own account do not agree on is not smoothed over: it becomes a
// Problem, and a verdict that rests on it is inconclusive.
//
// Two things that are easily taken for granted do not hold on Linux. A program
// that closes a socket whose data is unacknowledged may leave no trace on the wire: the
// kernel (seen on 6.18) holds the FIN back until the data is acknowledged, which on a dead path is
// never. The socket events tell of such a close (socket.Orphaned). And a RST
// need not be a program's doing: the kernel answers packets to sockets that it does not
// know, and resets when its keepalive gives up. Only a RST that the owner of
// the socket sent counts as notice.
package flow
