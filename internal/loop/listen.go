// SPDX-License-Identifier: Apache-2.0

//go:build unix

package loop

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// The IP families of clients that a listener takes.
const (
	onlyIPv4 = "IPv4"
	onlyIPv6 = "IPv6"
	bothIPs  = "IPv4 and IPv6"
)

// listenOn turns host:port into what gnet takes, for all loops alike. An empty host and [::]
// are all addresses of both families; gnet would bind [::] to IPv6 alone. A name is looked
// up here, once, and stands for one address: its first IPv4 one, if it has any.
func listenOn(listen string) (network, host, port string, err error) {
	if host, port, err = net.SplitHostPort(listen); err != nil {
		return "", "", "", err
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip == netip.IPv6Unspecified() {
		if err := canServeBoth(); err != nil {
			return "tcp4", "", port, nil
		}
		return "tcp", "", port, nil
	}
	addr, err := net.ResolveTCPAddr("tcp", listen)
	switch {
	case err != nil:
		return "", "", "", fmt.Errorf("%w: want an address of this host, or a name of it", err)
	case addr.IP.To4() != nil:
		return "tcp4", addr.IP.String(), port, nil
	case addr.Zone != "":
		return "tcp6", addr.IP.String() + "%" + addr.Zone, port, nil
	}
	return "tcp6", addr.IP.String(), port, nil
}

// canServeBoth returns why no socket of this process can serve both families: IPv6 may be
// off in the kernel, or forbidden by the service manager (RestrictAddressFamilies=).
func canServeBoth() error {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	unix.CloseOnExec(fd)
	return os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrInet6{}))
}

// isShared reports whether somebody listens already where loops are to. The kernel tells nobody
// who shares a port (SO_REUSEPORT), but it refuses it to a socket that does not ask for that.
func isShared(network, host, port string) bool {
	at, err := netip.ParseAddrPort(net.JoinHostPort(cmp.Or(host, "::"), port))
	if err != nil || at.Port() == 0 || at.Addr().Zone() != "" {
		return false
	}
	family, sa := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()})
	if network == "tcp4" {
		in := &unix.SockaddrInet4{Port: int(at.Port())}
		if at.Addr().Is4() {
			in.Addr = at.Addr().As4()
		}
		family, sa = unix.AF_INET, in
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	unix.CloseOnExec(fd)
	// Or connections that have ended lately would be taken for a listener.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if network == "tcp" {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0)
	}
	return unix.Bind(fd, sa) == unix.EADDRINUSE
}

// prepareListener is called when gnet listens.
func (e *engine) prepareListener() error {
	dup, err := e.gnet.Dup()
	if err != nil {
		return err
	}
	defer unix.Close(dup)
	if err := e.adopt(dup); err != nil {
		return err
	}
	e.addr, e.families, err = boundTo(dup)
	return err
}

// boundTo says where a listener listens, and of which IP families its clients can be.
func boundTo(fd int) (addr net.Addr, families string, err error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return nil, "", os.NewSyscallError("getsockname", err)
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return &net.TCPAddr{IP: sa.Addr[:], Port: sa.Port}, onlyIPv4, nil
	case *unix.SockaddrInet6:
		only, err := unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY)
		if err != nil {
			return nil, "", os.NewSyscallError("getsockopt IPV6_V6ONLY", err)
		}
		tcp := &net.TCPAddr{IP: sa.Addr[:], Port: sa.Port}
		if in, err := net.InterfaceByIndex(int(sa.ZoneId)); err == nil {
			tcp.Zone = in.Name // A link-local address is none without it.
		}
		if families = bothIPs; only != 0 {
			families = onlyIPv6
		}
		return tcp, families, nil
	}
	return nil, "", net.UnknownNetworkError("listener")
}

func shutdownWrite(fd int) { _ = unix.Shutdown(fd, unix.SHUT_WR) }
