package lab

import (
	"net/netip"
	"testing"
	"time"

	"outlive/lab/labtest"
)

// TestBystander puts a neighbour beside the phone and lets it send something, which
// leaves where the phone's packets leave, and shows nowhere else:
//
//	phone ─────────────── lan0 [cell] wan0 ─── [server]
//	[bystander] eth0 ──── lan8
func TestBystander(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		topology := build(t, oneNAT)
		b, err := topology.AddBystander("cell")
		if err != nil {
			t.Fatal(err)
		}
		if b.Name != "cell/bystander" || b.Role != RoleBystander || b.Interfaces[0].Addr.Addr() != BystanderAddr {
			t.Errorf("the bystander is %s, a %s at %s", b.Name, b.Role, b.Interfaces[0].Addr)
		}
		tap := listen(t, topology.Points()...)
		at, err := topology.Server().NS.ListenPacket(t.Context(), "udp4", netip.AddrPortFrom(topology.ServerAddr(), 9).String())
		if err != nil {
			t.Fatal(err)
		}
		defer at.Close()
		c, err := b.NS.Dial(t.Context(), "udp4", netip.AddrPortFrom(topology.ServerAddr(), 9).String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte("mine")); err != nil {
			t.Fatal(err)
		}
		buffer := make([]byte, 10)
		if err := at.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, from, err := at.ReadFrom(buffer)
		if err != nil || string(buffer[:n]) != "mine" || from.String() != c.LocalAddr().String() {
			t.Errorf("the server got %q from %v, %v", buffer[:n], from, err)
		}
		tap.await(t, 1, func(f frame) bool { return f.at == "cell:wan" })
		if seen := tap.all(func(f frame) bool { return f.at == "phone:cell" || f.at == "cell:lan" }); len(seen) > 0 {
			t.Errorf("%d packets at points of the phone's side, such as %+v", len(seen), seen[0])
		}
		if again, err := topology.AddBystander("cell"); err != nil || again != b {
			t.Errorf("asked again: %v, %v; want the same", again, err)
		}
		if _, err := topology.AddBystander("phone"); err == nil {
			t.Error("a bystander of a device: got no error")
		}
		if got := len(topology.Host("cell").Interfaces); got != 2 {
			t.Errorf("the NAT has %d interfaces of the scenario; want 2", got)
		}
	})
}
