package edge

import (
	"net"
	"testing"
)

// The address of the board is one that works.
func TestBoardURL(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		"0.0.0.0:80": "http://localhost:80/", "[::]:80": "http://localhost:80/", "127.0.0.1:80": "http://localhost:80/",
		"10.0.0.5:80": "http://10.0.0.5:80/", "[::1]:80": "http://[::1]:80/",
	} {
		tcp, err := net.ResolveTCPAddr("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if got := boardURL(tcp); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
}
