package topics

import "strconv"

// Row is the newest value of a topic as it stands in a client frame. A row is
// never changed after it was committed, so it may be read from every loop.
type Row struct {
	// Seq is the place of the row in the order of all commits of its table.
	// It is above 0 and only rises.
	Seq uint64
	// N is how many ticks of the topic the table has seen. 0 means that the value
	// came from a repair (the newest value fetched at subscription) before any tick.
	N uint64
	// JSON is the row as clients get it: {"s":"AAPL","n":8812,"v":…}.
	JSON []byte

	valueAt int // Where the value starts in JSON; it ends one byte before its end.
}

// Value returns the source's JSON value, byte for byte as it was published.
func (r *Row) Value() []byte { return r.JSON[r.valueAt : len(r.JSON)-1 : len(r.JSON)-1] }

// newRow encodes a row once, for all who will be sent it. The name needs no
// escaping, see [ValidName].
func newRow(name, value string, n uint64) *Row {
	const overhead = len(`{"s":"","n":18446744073709551615,"v":}`)
	b := make([]byte, 0, overhead+len(name)+len(value))
	b = append(b, `{"s":"`...)
	b = append(b, name...)
	b = append(b, `","n":`...)
	b = strconv.AppendUint(b, n, 10)
	b = append(b, `,"v":`...)
	at := len(b)
	b = append(b, value...)
	b = append(b, '}')
	return &Row{N: n, JSON: b[:len(b):len(b)], valueAt: at}
}
