package scenarios

import (
	"slices"
	"strings"

	"outlive/lab/units"
)

// The placeholders in a server's and in a client's command.
var (
	serverPlaceholders = []string{"{port}", "{address}"}
	clientPlaceholders = []string{"{server}", "{port}", "{device}", "{topic}"}
)

// server checks the server and fills in its defaults.
func (c *checker) server() {
	k, n := &c.file.Server, c.file.root.get("server")
	if k.Protocol == "" {
		k.Protocol = lineProtocol
	}
	protocol, known := protocolNamed(k.Protocol)
	if !known {
		c.unknownName(n.get("protocol"), "protocol", k.Protocol, protocolNames())
	}
	if k.Port == nil {
		k.Port = &protocol.Port
	} else if *k.Port == 0 {
		c.report(n.get("port"), "", "the port must be from 1 to 65535")
	}
	if len(k.Run) > 0 {
		c.without(n, "the server is a command of its own; %s is of the built-in server", "idle", "heartbeat")
		c.command(n, k.Run, serverPlaceholders, clientPlaceholders)
		k.Files = c.files(n, k.Files, k.Run)
	} else {
		c.withoutCommand(n)
		switch {
		case k.Protocol == lineProtocol:
			k.Heartbeat = c.heartbeat(n.get("heartbeat"), k.Heartbeat)
		case known:
			c.without(n, "%s is of the built-in server of the line protocol; here the protocol is "+k.Protocol, "idle", "heartbeat")
		}
	}
	s := &c.scenario.Server
	*s = Server{
		Run: k.Run, Files: k.Files, Protocol: k.Protocol, Port: *k.Port,
		Idle: k.Idle, Privileged: k.Privileged,
	}
	if k.Heartbeat != nil {
		s.Heartbeat = *k.Heartbeat
	}
}

// without reports keys that have no meaning here; why has one %s for the key.
func (c *checker) without(n *node, why string, keys ...string) {
	for _, key := range keys {
		if v := n.get(key); v != nil {
			c.report(v.keyNode(), "", why, key)
		}
	}
}

// withoutCommand reports keys that only a command has, and an empty command.
func (c *checker) withoutCommand(n *node) {
	if run := n.get("run"); run != nil {
		if run.kind == list && len(run.items) == 0 {
			c.report(run, "", "run is empty: name a command, or leave it out for the built-in program")
		}
		// What was meant to be the command has been reported.
		return
	}
	c.without(n, "%s is of a command, and there is none: add run, or leave it out", "files", "privileged")
}

// command checks a command's words as far as that can be done without running it.
func (c *checker) command(n *node, run words, placeholders, others []string) {
	at := n.get("run")
	for i, word := range run {
		item := at.item(i)
		switch {
		case strings.Contains(word, "\x00"):
			c.report(item, "", "a command's words cannot contain the character NUL")
			continue
		case i == 0 && strings.TrimSpace(word) == "":
			c.report(item, "", "the name of the command is empty")
			continue
		case i == 0 && replacedBySandbox(word):
			c.report(item, "", "the lab has a /tmp and a /run of its own, so it cannot see this program: put it elsewhere, or beside the scenario and write ./NAME")
			continue
		}
		c.placeholders(item, word, placeholders, others)
		if name, ok := c.lacks(word, i == 0); ok {
			c.report(item, c.similarFile(name), "there is no file %q beside the scenario", clip(name))
		}
	}
}

// replacedBySandbox says whether a path lies where a sandbox mounts its own.
func replacedBySandbox(p string) bool {
	for _, root := range []string{"/tmp", "/run", "/var/run"} {
		if p == root || strings.HasPrefix(p, root+"/") {
			return true
		}
	}
	return false
}

// placeholders reports words in braces that look like a placeholder and are none.
func (c *checker) placeholders(n *node, word string, known, others []string) {
	for rest := word; ; {
		from := strings.IndexByte(rest, '{')
		if from < 0 {
			return
		}
		rest = rest[from:]
		to := strings.IndexByte(rest, '}')
		if to < 0 {
			return
		}
		name := rest[:to+1]
		rest = rest[to+1:]
		if slices.Contains(known, name) || strings.Trim(name, "{}abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-") != "" {
			continue
		}
		suggestion := units.Closest(name, known)
		switch {
		case slices.Contains(others, name):
			c.report(n, "", "%q has no meaning here; there are %s", name, units.List(known))
		case suggestion != "" && len(name) > 4:
			c.report(n, strings.Replace(word, name, suggestion, 1), "%q is not a placeholder; there are %s", clip(name), units.List(known))
		}
	}
}
