package lab

import (
	"context"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"

	"golang.org/x/crypto/ssh"
)

// forward makes a machine a jump host: it serves a direct-tcpip channel (RFC 4254
// section 7.2). It connects only to this workstation, where the lab's machines are,
// to the addresses of Options.Route, and to SourceServer.
func (m *Machine) forward(line *tap, request ssh.NewChannel) {
	var to struct {
		Host       string
		Port       uint32
		Originator string
		From       uint32
	}
	if err := ssh.Unmarshal(request.ExtraData(), &to); err != nil {
		_ = request.Reject(ssh.ConnectionFailed, "bad request")
		return
	}
	target := net.JoinHostPort(to.Host, strconv.Itoa(int(to.Port)))
	if address, err := netip.ParseAddr(to.Host); target != SourceServer && (err != nil || !address.IsLoopback()) {
		target = m.fleet.opts.Route(target)
	}
	if target == "" {
		_ = request.Reject(ssh.Prohibited, "open failed")
		return
	}
	conn, err := m.fleet.reach(line.life.ctx, target)
	if err != nil {
		_ = request.Reject(ssh.ConnectionFailed, "Connection refused")
		return
	}
	defer conn.Close()
	channel, requests, err := request.Accept()
	if err != nil {
		return
	}
	defer channel.Close()
	defer context.AfterFunc(line.life.ctx, func() { _ = conn.Close() })()
	var tasks sync.WaitGroup
	tasks.Go(func() { ssh.DiscardRequests(requests) })
	tasks.Go(func() {
		_, _ = io.Copy(conn, channel)
		_ = conn.Close()
	})
	_, _ = io.Copy(channel, conn)
	_ = channel.Close()
	tasks.Wait()
}
