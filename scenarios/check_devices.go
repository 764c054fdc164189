package scenarios

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"time"

	"outlive/lab"
	"outlive/lab/units"
	"outlive/probes/client"
	"outlive/probes/heartbeat"
)

var deviceForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)

// devices checks the devices, fills in their defaults and expands fleets.
func (c *checker) devices() {
	f := c.file
	c.fleets = map[string][]string{}
	n := f.root.get("devices")
	switch {
	case n == nil:
		c.missing(f.root, "devices", `the simulated phones by name, for example "devices: {phone: {}}"`)
		return
	case n.kind == mapping && len(n.pairs) == 0 && !n.torn:
		c.report(n, "", "devices is empty: it needs at least one, for example {phone: {}}")
	}
	total := 0
	for i := range f.Devices {
		e := &f.Devices[i]
		c.deviceName(e)
		device := c.device(e)
		total += c.fleet(e, device, total)
	}
	if total > maxDevices {
		c.report(n, "", "there are %d devices in all; the lab takes at most %d", total, maxDevices)
		return
	}
	attached := map[string]int{}
	for _, d := range c.scenario.Devices {
		for _, u := range d.Uplinks {
			if attached[u]++; attached[u] == lab.MaxDevices+1 {
				c.report(n, "", "there are more than %d devices on uplink %s, which is what the kernel's bridge takes; make another uplink", lab.MaxDevices, u)
			}
		}
	}
}

func (c *checker) deviceName(e *entry[deviceKeys]) {
	taken := reserved[e.name]
	uplink := c.uplinks[e.name]
	switch {
	case !deviceForm.MatchString(e.name):
		c.report(e.key, "", "%q cannot be the name of a device: it must be at most 31 lower-case letters, digits and hyphens, a letter first", clip(e.name))
	case taken != "":
		c.report(e.key, "", "a device cannot be called %q: that is %s", e.name, taken)
	case uplink != nil:
		c.report(e.key, "", "a device cannot be called %q: that is the uplink of line %d, and its NAT", e.name, uplink.line)
	}
}

// fleet adds one device, or as many as count says, and gives their number.
func (c *checker) fleet(e *entry[deviceKeys], device Device, before int) int {
	names := []string{e.name}
	if count := e.value.Count; count != nil {
		if *count < 1 || *count > maxDevices {
			c.report(e.at.get("count"), "", "count must be from 1 to %d", maxDevices)
			c.fleets[e.name] = nil
			return 0
		}
		if before+*count > maxDevices {
			c.fleets[e.name] = nil
			return *count
		}
		names = nil
		for i := range *count {
			names = append(names, fmt.Sprintf("%s-%d", e.name, i+1))
		}
	}
	if len(names) > 1 {
		device.Fleet = e.name
	}
	for _, name := range names {
		if first := c.hosts[name]; first != nil {
			c.report(e.key, "", "there are two devices called %q: the other is made by %q in line %d", name, first.text, first.line)
			break
		}
		c.hosts[name] = e.key
		device.Name = name
		c.scenario.Devices = append(c.scenario.Devices, device)
	}
	c.fleets[e.name] = names
	c.groups = append(c.groups, expectGroup{at: e.at.get("expect"), lines: e.value.Expect, devices: names})
	return len(names)
}

// device checks what is the same for all devices of a fleet.
func (c *checker) device(e *entry[deviceKeys]) Device {
	k, n := &e.value, e.at
	c.deviceUplinks(n.get("uplinks"), k)
	ip := c.deviceIP(n.get("ip"), k)
	if len(k.Run) > 0 {
		c.without(n, "the client is a command of its own; %s is of the built-in client", "version", "keepalive", "heartbeat", "reconnect")
		c.command(n, k.Run, clientPlaceholders, serverPlaceholders)
		k.Files = c.files(n, k.Files, k.Run)
	} else {
		c.withoutCommand(n)
		c.builtIn(n, k)
	}
	d := Device{Uplinks: k.Uplinks, IP: ip, Client: Client{
		Run: k.Run, Files: k.Files, Version: k.Version, Privileged: k.Privileged,
	}}
	if k.KeepAlive != nil {
		d.Client.KeepAlive = *k.KeepAlive
	}
	if k.Heartbeat != nil {
		d.Client.Heartbeat = *k.Heartbeat
	}
	if k.Reconnect != nil {
		d.Client.Reconnect = *k.Reconnect
	}
	return d
}

// deviceIP fills in by which version of IP the client reaches the server. Where there is
// no choice and none was written, the key stays away.
func (c *checker) deviceIP(n *node, k *deviceKeys) int {
	at := slices.IndexFunc(c.scenario.Uplinks, func(u Uplink) bool { return len(k.Uplinks) > 0 && u.Name == k.Uplinks[0] })
	if k.IP != nil && *k.IP != 4 && *k.IP != 6 {
		c.report(n, "", "the versions of IP are 4 and 6, not %d", *k.IP)
		return 4
	}
	if at < 0 {
		return 4
	}
	u := c.scenario.Uplinks[at]
	has := map[int]bool{4: len(u.NATs) > 0, 6: u.Firewall != nil}
	switch {
	case k.IP == nil && !has[6]:
		return 4
	case k.IP == nil:
		six := 6
		k.IP = &six
	case !has[*k.IP]:
		missing, other := "NAT", 6
		if *k.IP == 6 {
			missing, other = "firewall", 4
		}
		c.report(n, strconv.Itoa(other), "uplink %s has no IPv%d: it has no %s", u.Name, *k.IP, missing)
	}
	return *k.IP
}

func (c *checker) deviceUplinks(n *node, k *deviceKeys) {
	all := c.file.Network.names()
	if n == nil {
		k.Uplinks = all
		return
	}
	if n.kind == list && len(n.items) == 0 {
		c.report(n, "", "uplinks is empty: name at least one, or leave it out for all")
	}
	seen := map[string]bool{}
	for i, name := range k.Uplinks {
		switch {
		case n.item(i).spoilt || name == "":
		case c.uplinks[name] == nil:
			c.unknownName(n.item(i), "uplink", name, all)
		case seen[name]:
			c.report(n.item(i), "", "uplink %s is there twice", name)
		}
		seen[name] = true
	}
}

// builtIn checks the built-in client's keys and fills in their defaults.
func (c *checker) builtIn(n *node, k *deviceKeys) {
	k.Heartbeat = c.heartbeat(n.get("heartbeat"), k.Heartbeat)
	protocol := c.scenario.Server.Protocol
	if _, known := protocolNamed(protocol); protocol == mqttProtocol {
		c.mqtt(n, k)
	} else if known {
		c.without(n, "%s is of MQTT; here the protocol is "+protocol, "version", "keepalive")
	}
	var reconnect heartbeat.ReconnectSpec
	if k.Reconnect != nil {
		reconnect = *k.Reconnect
		c.problems(n.get("reconnect"), reconnect.Check())
	}
	reconnect = reconnect.WithDefaults()
	k.Reconnect = &reconnect
}

func (c *checker) mqtt(n *node, k *deviceKeys) {
	switch k.Version {
	case "":
		k.Version = "3.1.1"
	case "3.1.1", "5":
	case "3", "3.1", "4", "311":
		c.report(n.get("version"), "3.1.1", "the MQTT versions are 3.1.1 and 5, not %s", k.Version)
	case "5.0":
		c.report(n.get("version"), "5", "the MQTT versions are 3.1.1 and 5, not %s", k.Version)
	default:
		c.report(n.get("version"), "", "the MQTT versions are 3.1.1 and 5, not %q", clip(k.Version))
	}
	if k.KeepAlive == nil {
		if k.Heartbeat != nil {
			alive := client.KeepAlive(*k.Heartbeat)
			k.KeepAlive = &alive
		}
		return
	}
	switch alive := *k.KeepAlive; {
	case alive%units.Duration(time.Second) != 0:
		up := alive.D().Truncate(time.Second) + time.Second
		c.report(n.get("keepalive"), units.Duration(up).String(), "MQTT carries the keep alive in whole seconds")
	case alive > client.MaxKeepAlive:
		c.report(n.get("keepalive"), "", "MQTT carries a keep alive of at most %d seconds (%s)", int(client.MaxKeepAlive.D()/time.Second), client.MaxKeepAlive)
	}
}

// heartbeat checks a heartbeat and fills in its defaults.
func (c *checker) heartbeat(n *node, given *heartbeat.Spec) *heartbeat.Spec {
	var spec heartbeat.Spec
	switch {
	case given != nil:
		spec = *given
		found := spec.Check()
		c.problems(n, found)
		if len(found) > 0 {
			return given
		}
	case n != nil:
		// Written, but wrong.
		return nil
	}
	spec = spec.WithDefaults()
	return &spec
}
