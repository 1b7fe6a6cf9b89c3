package redis

const (
	// connFiles is how many descriptors one connection takes. While it is dialled, two
	// sockets look its name up, and then two may try addresses of both families (RFC 8305).
	connFiles = 2
	// linkConns are those of a link: one for messages, and one for values.
	linkConns = 2
	// clusterNodes is how many primaries of a cluster are counted. How many there are is
	// not in the configuration, and few clusters have more than a dozen.
	clusterNodes = 64
)

// Files is how many descriptors the sources have at a time at most, with up to
// [clusterNodes] primaries of each cluster. A source that is not valid counts nothing.
func (c Config) Files() (n int) {
	for _, s := range c.Sources {
		u, err := s.upstream(c)
		if err != nil {
			continue
		}
		conns := linkConns
		switch u.kind {
		case sentinel:
			conns += len(u.addrs) + 1 // All are asked at once, and the server for its role.
		case sharded:
			conns = linkConns*max(clusterNodes, len(u.addrs)) + askNodesMax
		}
		n += conns * connFiles
	}
	return n
}
