package wsproto

import (
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// LongestMessage is how long the payload of a message of ours is at most, with so many
// topics a conn. Each kind keeps to it by itself: snapshots and updates end before, and
// what names topics has at most 256 bytes for each of them, with all that is around.
func LongestMessage(maxTopics int) int { return max(64<<10, 256*maxTopics) }

const (
	// rejectedMax is how long a rejected topic is at most, with its comma. What 256 of
	// them leave of 64 KiB is room for the rest of the ack.
	rejectedMax = 254
	// rejectedTopicMax bounds its name as JSON, with quotes. Every legal name fits; others
	// may be all control characters, of which each takes six bytes.
	rejectedTopicMax = 100
	// rejectedReasonMax is what that leaves for the reason.
	rejectedReasonMax = rejectedMax - rejectedTopicMax - len(`,{"topic":,"code":000,"reason":""}`)
	// reasonMax bounds the reason of an error, which may quote what was sent.
	reasonMax = 512
)

// Rejected is one topic that a command could not have.
type Rejected struct {
	Topic  string
	Code   int
	Reason string
}

// AppendHello appends the first message of a conn. interval and heartbeat are in
// milliseconds.
func AppendHello(dst []byte, conn uint32, interval, heartbeat, maxTopics int) []byte {
	start := len(dst)
	dst = append(BeginText(dst), `{"t":"hello","v":1,"conn":"`...)
	const hex = "0123456789abcdef"
	for shift := 28; shift >= 0; shift -= 4 {
		dst = append(dst, hex[conn>>shift&0xf])
	}
	dst = append(dst, `","interval":`...)
	dst = strconv.AppendInt(dst, int64(interval), 10)
	dst = append(dst, `,"heartbeat":`...)
	dst = strconv.AppendInt(dst, int64(heartbeat), 10)
	dst = append(dst, `,"max_topics":`...)
	dst = strconv.AppendInt(dst, int64(maxTopics), 10)
	return EndText(append(dst, '}'), start)
}

// Ack is the answer to a command that was carried out, at least in part.
type Ack struct {
	ID       []byte // As it was sent, nil for none.
	Op       Op
	Topics   int // How many topics the conn has now.
	MS       int // The window that is used, of interval.
	Rejected []Rejected
}

// Append appends the ack as a frame.
func (a *Ack) Append(dst []byte) []byte {
	start := len(dst)
	dst = append(BeginText(dst), `{"t":"ack"`...)
	dst = appendID(dst, a.ID)
	dst = append(dst, `,"op":"`...)
	dst = append(dst, a.Op.String()...)
	dst = append(dst, `","topics":`...)
	dst = strconv.AppendInt(dst, int64(a.Topics), 10)
	if a.MS > 0 {
		dst = append(dst, `,"ms":`...)
		dst = strconv.AppendInt(dst, int64(a.MS), 10)
	}
	for i, r := range a.Rejected {
		if i == 0 {
			dst = append(dst, `,"rejected":[`...)
		} else {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"topic":`...)
		dst = appendShort(dst, r.Topic)
		dst = append(dst, `,"code":`...)
		dst = strconv.AppendInt(dst, int64(r.Code), 10)
		dst = append(dst, `,"reason":`...)
		dst = appendString(dst, cut(r.Reason, rejectedReasonMax))
		dst = append(dst, '}')
	}
	if len(a.Rejected) > 0 {
		dst = append(dst, ']')
	}
	return EndText(append(dst, '}'), start)
}

// AppendTopics appends the answer to list.
func AppendTopics(dst, id []byte, names func(yield func(string) bool)) []byte {
	start := len(dst)
	dst = append(BeginText(dst), `{"t":"topics"`...)
	dst = appendID(dst, id)
	dst = append(dst, `,"topics":[`...)
	first := true
	for name := range names {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = appendString(dst, name)
	}
	return EndText(append(dst, "]}"...), start)
}

// ErrTooFast is the code of commands and topics beyond the rate of a conn, in the
// error and rejected parts of answers.
const ErrTooFast = 429

// AppendInterval appends the news that the edge has changed a conn's window to ms
// milliseconds.
func AppendInterval(dst []byte, ms int, reason string) []byte {
	start := len(dst)
	dst = append(BeginText(dst), `{"t":"interval","ms":`...)
	dst = strconv.AppendInt(dst, int64(ms), 10)
	dst = append(dst, `,"reason":`...)
	dst = appendString(dst, reason)
	return EndText(append(dst, '}'), start)
}

// AppendError appends the answer to a message that was refused as a whole.
func AppendError(dst []byte, e *CommandError) []byte {
	start := len(dst)
	dst = append(BeginText(dst), `{"t":"error"`...)
	dst = appendID(dst, e.ID)
	dst = append(dst, `,"code":`...)
	dst = strconv.AppendInt(dst, int64(e.Code), 10)
	dst = append(dst, `,"reason":`...)
	dst = appendString(dst, cut(e.Reason, reasonMax))
	return EndText(append(dst, '}'), start)
}

// AppendPongMessage appends the answer to the ping command. now is in Unix
// milliseconds.
func AppendPongMessage(dst, id []byte, now int64) []byte {
	start := len(dst)
	dst = append(BeginText(dst), `{"t":"pong"`...)
	dst = appendID(dst, id)
	dst = append(dst, `,"ts":`...)
	dst = strconv.AppendInt(dst, now, 10)
	return EndText(append(dst, '}'), start)
}

// Heartbeat is what a heartbeat tells apart: a quiet market, a feed that is down, and an
// edge that is behind.
type Heartbeat struct {
	Now    int64 // Unix milliseconds.
	FeedUp bool
	Tick   int64 // When the newest tick of any topic came in, in Unix milliseconds; 0 for none.
	Lag    int64 // How far the edge is behind its feed, in milliseconds.
}

// Append appends the heartbeat as a frame.
func (h *Heartbeat) Append(dst []byte) []byte {
	start := len(dst)
	dst = append(BeginText(dst), `{"t":"heartbeat","ts":`...)
	dst = strconv.AppendInt(dst, h.Now, 10)
	dst = append(dst, `,"feed":"`...)
	dst = append(dst, feedState(h.FeedUp)...)
	dst = append(dst, '"')
	if h.Tick > 0 {
		dst = append(dst, `,"tick":`...)
		dst = strconv.AppendInt(dst, h.Tick, 10)
	}
	dst = append(dst, `,"lag":`...)
	dst = strconv.AppendInt(dst, h.Lag, 10)
	return EndText(append(dst, '}'), start)
}

// Feed is the news that a feed is up, or down.
type Feed struct {
	Up     bool
	Since  int64  // Unix milliseconds.
	Topics string // The patterns of its topics. Empty if it serves all, or those that no other does.
}

// Append appends the news as a frame.
func (f *Feed) Append(dst []byte) []byte {
	start := len(dst)
	dst = append(BeginText(dst), `{"t":"feed","state":"`...)
	dst = append(dst, feedState(f.Up)...)
	dst = append(dst, `","since":`...)
	dst = strconv.AppendInt(dst, f.Since, 10)
	if f.Topics != "" {
		dst = append(dst, `,"topics":`...)
		dst = appendString(dst, f.Topics)
	}
	return EndText(append(dst, '}'), start)
}

func feedState(up bool) string {
	if up {
		return "up"
	}
	return "down"
}

// AppendStaleHead appends the payload of the news that topics are stale, up to their
// names. Those follow with [AppendName], then [NamesEnd]. now is in Unix milliseconds.
func AppendStaleHead(dst []byte, now int64) []byte {
	dst = append(dst, `{"t":"stale","ts":`...)
	dst = strconv.AppendInt(dst, now, 10)
	return append(dst, `,"topics":[`...)
}

// AppendName appends the name of one topic, and a comma if it is not the first.
func AppendName(dst []byte, name string) []byte {
	if dst[len(dst)-1] != '[' {
		dst = append(dst, ',')
	}
	return appendString(dst, name)
}

// NamesEnd ends the payload of a stale message.
const NamesEnd = "]}"

// AppendUnsubscribedHead appends the payload of the news that the edge has taken topics away
// from a conn, up to their names. Those follow with [AppendName], at most [UnsubscribedMax],
// and then [AppendUnsubscribedEnd].
func AppendUnsubscribedHead(dst []byte) []byte {
	return append(dst, `{"t":"unsubscribed","topics":[`...)
}

// UnsubscribedMax bounds the names in one such message. With names of 64 bytes that is 34 KB:
// no message is to be longer than 64 KiB.
const UnsubscribedMax = 512

// AppendUnsubscribedEnd ends the payload, with the reason.
func AppendUnsubscribedEnd(dst []byte, reason string) []byte {
	dst = appendString(append(dst, `],"reason":`...), reason)
	return append(dst, '}')
}

// AppendBye appends the message that precedes a close of ours. retryMS of 0 leaves
// the advice out.
func AppendBye(dst []byte, code Code, reason string, retryMS int) []byte {
	start := len(dst)
	dst = append(BeginText(dst), `{"t":"bye","code":`...)
	dst = strconv.AppendInt(dst, int64(code), 10)
	dst = append(dst, `,"reason":`...)
	dst = appendString(dst, reason)
	if retryMS > 0 {
		dst = append(dst, `,"retry_ms":`...)
		dst = strconv.AppendInt(dst, int64(retryMS), 10)
	}
	return EndText(append(dst, '}'), start)
}

func appendRows(dst []byte, kind string, now int64) []byte {
	dst = append(dst, `{"t":"`...)
	dst = append(dst, kind...)
	dst = append(dst, `","ts":`...)
	dst = strconv.AppendInt(dst, now, 10)
	return append(dst, `,"d":[`...)
}

// AppendSnapshotHead appends the payload of a snapshot up to its first row. Rows
// follow with commas between them, then [RowsEnd]. now is in Unix milliseconds.
func AppendSnapshotHead(dst []byte, now int64) []byte { return appendRows(dst, "snapshot", now) }

// AppendUpdateHead is the same for an update.
func AppendUpdateHead(dst []byte, now int64) []byte { return appendRows(dst, "update", now) }

// RowsEnd ends the payload of a snapshot or an update.
const RowsEnd = "]}"

func appendID(dst, id []byte) []byte {
	if id == nil {
		return dst
	}
	dst = append(dst, `,"id":`...)
	return append(dst, id...)
}

// appendShort appends the beginning of a name as a JSON string, of rejectedTopicMax bytes
// at most. A legal name is shown whole.
func appendShort(dst []byte, name string) []byte {
	start := len(dst)
	for {
		dst = appendString(dst[:start], name)
		if len(dst)-start <= rejectedTopicMax {
			return dst
		}
		name = cut(name, len(name)*3/4)
	}
}

// appendString appends s as a JSON string. Bytes that are not UTF-8 are replaced,
// so the error is of no interest.
func appendString(dst []byte, s string) []byte {
	dst, _ = jsontext.AppendQuote(dst, s)
	return dst
}
