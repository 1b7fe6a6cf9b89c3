// SPDX-License-Identifier: Apache-2.0

package wire

// Faults of text messages.
const (
	ErrJSON Fault = "malformed JSON"
	ErrRow  Fault = "malformed row" // A row without s, n or v, or with another type there.
	ErrType Fault = "message without t"
	ErrData Fault = "rows without d"
)

// Type is the t of a server message.
type Type uint8

const (
	Other Type = iota // Clients ignore what they do not know.
	Hello
	Ack
	Snapshot
	Update
	Heartbeat
	Error
	Bye
	Screen

	Types = iota // How many there are.
)

var typeNames = [Types]string{"other", "hello", "ack", "snapshot", "update", "heartbeat", "error", "bye", "screen"}

func (t Type) String() string { return typeNames[t] }

func typeOf(name []byte) Type {
	switch string(name) {
	case "update":
		return Update
	case "snapshot":
		return Snapshot
	case "heartbeat":
		return Heartbeat
	case "hello":
		return Hello
	case "ack":
		return Ack
	case "error":
		return Error
	case "bye":
		return Bye
	case "screen":
		return Screen
	}
	return Other
}

// Row is one row of a snapshot or update.
type Row struct {
	Topic []byte
	N     uint64
	TS    int64 // The ts inside the value, in Unix milliseconds; 0 if it has none.
}

// Message is what the scanner keeps of a text message. It points into the scanned
// bytes and is good until they change. One Message is made for many scans.
type Message struct {
	Type Type
	Rows []Row // Of Snapshot, Update and Screen.

	ID        uint64 // 0 if it is absent or not a number. Ours are numbers.
	Topics    uint64 // Of Ack.
	Screens   uint64 // Of Ack: how many the conn has.
	Rejected  []byte // Of Ack: the array as it stands; nil if it is absent or empty.
	Code      uint64 // Of Error and Bye.
	Reason    []byte // Of Error and Bye, escapes left as they are.
	Interval  uint64 // Of Hello, in milliseconds.
	Heartbeat uint64 // Of Hello, in milliseconds.
	Full      bool   // Of Screen: it is all that is inside, or begins that.
	Out       []byte // Of Screen: the array as it stands; nil if it is absent or empty.
}

// Scan reads one text message. The error is a Fault.
func (m *Message) Scan(p []byte) error {
	*m = Message{Rows: m.Rows[:0]}
	typed, data := false, -1 // Where the value of d starts.
	i := next(p, 0, '{')
	if i < 0 {
		return ErrJSON
	}
	if end := next(p, i, '}'); end >= 0 {
		if blanks(p, end) != len(p) {
			return ErrJSON
		}
		return ErrType
	}
	for {
		var key []byte
		if key, i = member(p, i); i < 0 {
			return ErrJSON
		}
		switch string(key) {
		case "t":
			var name []byte
			if p[i] == '"' {
				if name, i = text(p, i); i < 0 {
					return ErrJSON
				}
				m.Type, typed = typeOf(name), true
			} else {
				i = value(p, i)
			}
		case "d":
			data = i
			if m.hasRows() {
				var err error
				if i, err = m.scanRows(p, i); err != nil {
					return err
				}
			} else {
				i = value(p, i)
			}
		default:
			i = m.member(p, i, key)
		}
		if i < 0 {
			return ErrJSON
		}
		if i = blanks(p, i); i >= len(p) {
			return ErrJSON
		}
		if p[i] == ',' {
			i++
			continue
		}
		if p[i] != '}' || blanks(p, i+1) != len(p) {
			return ErrJSON
		}
		break
	}
	switch {
	case !typed:
		return ErrType
	case !m.hasRows():
		m.Rows = m.Rows[:0]
	case data < 0:
		return ErrData
	default:
		// The common order is t before d. In the other one d was walked over.
		if len(m.Rows) == 0 {
			_, err := m.scanRows(p, data)
			return err
		}
	}
	return nil
}

// member keeps the value of a key that few messages have, and walks over that of any
// other.
func (m *Message) member(p []byte, i int, key []byte) int {
	start := i
	switch string(key) {
	case "id":
		return number(p, i, &m.ID)
	case "topics":
		return number(p, i, &m.Topics)
	case "code":
		return number(p, i, &m.Code)
	case "interval":
		return number(p, i, &m.Interval)
	case "heartbeat":
		return number(p, i, &m.Heartbeat)
	case "reason":
		if i = value(p, i); i > 0 && p[start] == '"' {
			m.Reason = p[start+1 : i-1]
		}
		return i
	case "screens":
		return number(p, i, &m.Screens)
	case "full":
		m.Full = p[i] == 't'
	case "out":
		if i = value(p, i); i > start+2 {
			m.Out = p[start:i]
		}
		return i
	case "rejected":
		if i = value(p, i); i > start+2 {
			m.Rejected = p[start:i]
		}
		return i
	}
	return value(p, i)
}

func (m *Message) hasRows() bool { return m.Type == Snapshot || m.Type == Update || m.Type == Screen }

// member walks over a key and its colon to the first byte of the value.
func member(p []byte, i int) ([]byte, int) {
	// Nearly all keys are short and without blanks: "s":… Half of a scan's time is
	// spent on keys.
	const short = 4
	if i < len(p) && p[i] == '"' {
		for j := i + 1; j < min(i+2+short, len(p)-2); j++ {
			if p[j] == '"' {
				if p[j+1] == ':' && p[j+2] > ' ' {
					return p[i+1 : j], j + 2
				}
				break
			}
			if p[j] == '\\' || p[j] < ' ' {
				break
			}
		}
	}
	key, i := text(p, blanks(p, i))
	if i < 0 {
		return nil, -1
	}
	if i = next(p, i, ':'); i < 0 {
		return nil, -1
	}
	if i = blanks(p, i); i >= len(p) {
		return nil, -1
	}
	return key, i
}

// number keeps an unsigned integer in n and walks over anything else.
func number(p []byte, i int, n *uint64) int {
	if v, end, ok := integer(p, i); ok {
		*n = v
		return end
	}
	return value(p, i)
}

// scanRows reads the array of rows at i and returns where it ends.
func (m *Message) scanRows(p []byte, i int) (int, error) {
	m.Rows = m.Rows[:0]
	if p[i] != '[' {
		if i = value(p, i); i < 0 {
			return i, ErrJSON
		}
		return i, ErrRow
	}
	if end := next(p, i+1, ']'); end >= 0 {
		return end, nil
	}
	for {
		i++ // Over the bracket or the comma.
		if i = blanks(p, i); i >= len(p) {
			return -1, ErrJSON
		}
		if p[i] != '{' {
			return -1, ErrRow
		}
		var row Row
		var err error
		if i, err = row.scan(p, i+1); err != nil {
			return -1, err
		}
		m.Rows = append(m.Rows, row)
		if i = blanks(p, i); i >= len(p) {
			return -1, ErrJSON
		}
		if p[i] == ']' {
			return i + 1, nil
		}
		if p[i] != ',' {
			return -1, ErrJSON
		}
	}
}

// scan reads one row whose bracket has been walked over.
func (r *Row) scan(p []byte, i int) (int, error) {
	var hasN, hasV bool
	if next(p, i, '}') >= 0 {
		return -1, ErrRow
	}
	for {
		var key []byte
		if key, i = member(p, i); i < 0 {
			return -1, ErrJSON
		}
		switch {
		case len(key) != 1:
			i = value(p, i)
		case key[0] == 's':
			if p[i] != '"' {
				return -1, ErrRow
			}
			r.Topic, i = text(p, i)
		case key[0] == 'n':
			if r.N, i, hasN = integer(p, i); !hasN {
				return -1, ErrRow
			}
		case key[0] == 'v':
			hasV = true
			r.TS, i = timestamp(p, i)
		default:
			i = value(p, i)
		}
		if i < 0 {
			return -1, ErrJSON
		}
		if i = blanks(p, i); i >= len(p) {
			return -1, ErrJSON
		}
		if p[i] == '}' {
			break
		}
		if p[i] != ',' {
			return -1, ErrJSON
		}
		i++
	}
	if r.Topic == nil || !hasN || !hasV {
		return -1, ErrRow
	}
	return i + 1, nil
}

// timestamp walks over a value and returns its member ts if it is an object that has
// one.
func timestamp(p []byte, i int) (ts int64, end int) {
	if p[i] != '{' {
		return 0, value(p, i)
	}
	if end = next(p, i+1, '}'); end >= 0 {
		return 0, end
	}
	i++
	for {
		var key []byte
		if key, i = member(p, i); i < 0 {
			return 0, -1
		}
		if len(key) == 2 && key[0] == 't' && key[1] == 's' {
			var n uint64
			i = number(p, i, &n)
			ts = int64(n)
		} else {
			i = value(p, i)
		}
		if i < 0 {
			return 0, -1
		}
		if i = blanks(p, i); i >= len(p) {
			return 0, -1
		}
		if p[i] == '}' {
			return ts, i + 1
		}
		if p[i] != ',' {
			return 0, -1
		}
		i++
	}
}
