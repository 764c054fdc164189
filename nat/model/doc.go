// Package model says what a NAT of a given profile does with any packet at any
// time, as a pure function: no clock, no chance, no I/O. It is the oracle that the
// kernel's NAT is tested against.
//
// It is written from the documents and not from a ruleset: mapping, filtering, port
// allocation, pooling, hairpinning and refresh from RFC 4787, for TCP from RFC 5382,
// blocks and limits from RFC 6888; the states of a connection, and which idle
// timeout each packet starts, from what Linux's connection tracking is documented
// to do (nf_conntrack-sysctl.rst, the comments of nf_conntrack_proto_tcp.c), because
// that is what the profiles' timeouts are named after.
//
// Where a NAT is free to choose, as with a random port, an Outcome names what it may
// choose from and is told what it chose. Where the time of a packet is not known
// exactly and a timeout lies within, there is one Branch for each thing that may
// have happened.
//
// Not modelled: fragments, ICMP, IP options, and the TCP options for window scaling
// and selective acknowledgement.
package model
