// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// slotRange is a range of slots, and the nodes that have it, of which the first is the primary.
type slotRange struct {
	start, end int
	nodes      []slotNode
}

// slotNode is a node as one of its cluster names it.
type slotNode struct {
	id   string // "" if it was not told.
	addr string
	// guessed says that the node was named without a host, and addr is therefore that of the
	// node which was asked.
	guessed bool
	// ip is where the node is if the name in addr is not known here; "" if that was not told.
	ip string
}

var (
	errSlots = errors.New("its answer to CLUSTER SLOTS is not of the form of one")
	// errOnePlace is the error of a view in which nodes can't be told apart.
	errOnePlace = errors.New("it names several primaries without a host and with the same port")
)

// parseSlots reads the answer to CLUSTER SLOTS of the node that was asked at an address. go-redis
// can read it too, but takes no node without a host.
func parseSlots(reply []any, asked string) ([]slotRange, error) {
	host, port, err := net.SplitHostPort(asked)
	if err != nil {
		return nil, err
	}
	from := origin{host, port, isLoopback(host)}
	places := make(map[string]string)
	ranges := make([]slotRange, 0, len(reply))
	for _, v := range reply {
		parts, _ := v.([]any)
		if len(parts) < 2 {
			return nil, errSlots
		}
		start, ok := wholeNumber(parts[0], slotCount-1)
		end, ok2 := wholeNumber(parts[1], slotCount-1)
		if !ok || !ok2 {
			return nil, errSlots
		}
		r := slotRange{start: start, end: end}
		for _, v := range parts[2:] {
			n, err := from.node(v)
			if err != nil {
				return nil, err
			}
			r.nodes = append(r.nodes, n)
		}
		if len(r.nodes) > 0 {
			primary := r.nodes[0]
			if id, is := places[primary.addr]; is && id != primary.id && primary.guessed {
				return nil, fmt.Errorf("%w: %s", errOnePlace, primary.addr)
			}
			places[primary.addr] = primary.id
		}
		ranges = append(ranges, r)
	}
	return ranges, nil
}

// wholeNumber reads a number from 0 to most, of which some proxies make a text.
func wholeNumber(v any, most int) (int, bool) {
	n, ok := v.(int64)
	if s, is := v.(string); is {
		var err error
		n, err = strconv.ParseInt(s, 10, 64)
		ok = err == nil
	}
	return int(n), ok && n >= 0 && n <= int64(most)
}

// origin is the node that was asked, as it was reached.
type origin struct {
	host, port string
	loopback   bool
}

// node reads a node: its host and port, its id, and what else is known of where it is. What it
// does not say of its address is as with the node that was asked:
//
//	no host     nil from a node with cluster-preferred-endpoint-type unknown-endpoint, and "" from one
//	            that does not know its own address
//	?           from a node that is to have a hostname and has none. Its address is told beside that
//	127.0.0.1   from a cluster that was made on one host, if it was asked from another
//	port 0      from a node that speaks TLS only
func (o origin) node(v any) (n slotNode, err error) {
	parts, _ := v.([]any)
	if len(parts) < 2 {
		return n, errSlots
	}
	host, _ := parts[0].(string)
	port, ok := wholeNumber(parts[1], 1<<16-1)
	if !ok || parts[0] != nil && host == "" && parts[0] != "" {
		return n, errSlots
	}
	if len(host) > addrMax {
		return n, fmt.Errorf("an address of a node has %d bytes, want at most %d", len(host), addrMax)
	}
	if len(parts) > 2 {
		n.id, _ = parts[2].(string)
	}
	var ip string
	if len(parts) > 3 {
		ip = o.announcedIP(parts[3])
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	switch {
	case host == "?" && ip != "":
		host = ip
	case host == "" || host == "?" || o.isElsewhere(host):
		host, n.guessed = o.host, true
	case !isHost(host):
		return n, fmt.Errorf("%q is no host of a node", host)
	case !isAddress(host):
		n.ip = ip
	}
	text := strconv.Itoa(port)
	if port == 0 {
		text = o.port
	}
	n.addr = net.JoinHostPort(host, text)
	return n, nil
}

// announcedIP is the address in what is said of a node beside its host: names and values in turn.
func (o origin) announcedIP(v any) string {
	pairs, _ := v.([]any)
	for i := 0; i+1 < len(pairs); i += 2 {
		if ip, _ := pairs[i+1].(string); pairs[i] == "ip" && isAddress(ip) && !o.isElsewhere(ip) {
			return ip
		}
	}
	return ""
}

// isElsewhere reports whether an address means another host here than it does there.
func (o origin) isElsewhere(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && (ip.IsUnspecified() || ip.IsLoopback() && !o.loopback)
}

func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
