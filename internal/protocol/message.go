// SPDX-License-Identifier: Apache-2.0

package protocol

import (
	"strconv"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	// rejectedReasonMax bounds the reason of a rejected topic. With what is around it, and
	// the room of the names, that is less than 64 KiB for 256 topics, and than 256 bytes for
	// each where there are more: no message is to be longer.
	rejectedReasonMax = 120
	// ReasonMax bounds the reason of an error, which may quote what was sent.
	ReasonMax = 512
)

// Rejected is one topic that a command could not have.
type Rejected struct {
	Topic  string // As it was sent.
	Index  int    // Its place among the topics of the command, from 0.
	Code   int
	Reason string
}

// AppendHello appends the first message of a conn. interval and heartbeat are in
// milliseconds.
func AppendHello(dst []byte, conn uint32, interval, heartbeat, maxTopics int) []byte {
	dst = append(dst, `{"t":"hello","v":1,"conn":"`...)
	const hex = "0123456789abcdef"
	for shift := 28; shift >= 0; shift -= 4 {
		dst = append(dst, hex[conn>>shift&0xf])
	}
	dst = appendInt(dst, `","interval":`, interval)
	dst = appendInt(dst, `,"heartbeat":`, heartbeat)
	return append(appendInt(dst, `,"max_topics":`, maxTopics), '}')
}

// Ack is the answer to a command that was carried out, at least in part.
type Ack struct {
	ID       []byte // As it was sent, nil for none.
	Op       Op
	Topics   int    // How many topics the conn has now.
	MS       int    // The window that is used, of interval.
	Screen   []byte // Of screen and unscreen: the name.
	Screens  int    // How many screens the conn has now. It is shown if it has one, or has had to do with one.
	Rejected []Rejected

	// Of a subscribe that says since when the client has rows: whether that was of use.
	Claimed, Resumed bool

	// MaxTopics is how many topics a conn may have. The rejected names have as much room as
	// the longest command, so those of a message fit, however long they are: as JSON they have
	// no more bytes than it had. Those of a URL may not.
	MaxTopics int
}

// Append appends the payload of the ack. Of rejected topics whose name can't be shown as it
// was sent, as it is no UTF-8 or there is no more room, it has the place.
func (a *Ack) Append(dst []byte) []byte {
	dst = appendID(append(dst, `{"t":"ack"`...), a.ID)
	dst = append(append(dst, `,"op":"`...), a.Op.String()...)
	dst = appendInt(dst, `","topics":`, a.Topics)
	if a.MS > 0 {
		dst = appendInt(dst, `,"ms":`, a.MS)
	}
	if a.Screens > 0 || a.Screen != nil {
		dst = appendInt(dst, `,"screens":`, a.Screens)
	}
	if a.Screen != nil {
		dst = appendText(dst, `,"screen":`, string(a.Screen))
	}
	if a.Claimed {
		dst = strconv.AppendBool(append(dst, `,"resumed":`...), a.Resumed)
	}
	before, room := `,"rejected":[{`, MessageMax(a.MaxTopics)
	for _, r := range a.Rejected {
		dst, room = r.appendName(append(dst, before...), room)
		dst = appendInt(dst, `,"code":`, r.Code)
		dst = append(appendText(dst, `,"reason":`, Cut(r.Reason, rejectedReasonMax)), '}')
		before = `,{`
	}
	if len(a.Rejected) > 0 {
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

// appendName appends the name of a rejected topic if it has room, else its place, and returns
// how much room is left.
func (r *Rejected) appendName(dst []byte, room int) ([]byte, int) {
	const key = `"topic":`
	start := len(dst)
	if len(r.Topic) <= room && utf8.ValidString(r.Topic) {
		dst = appendText(dst, key, r.Topic)
		if left := room - (len(dst) - start - len(key)); left >= 0 {
			return dst, left
		}
	}
	return appendInt(dst[:start], `"index":`, r.Index), room
}

// AppendTopics appends the answer to list.
func AppendTopics(dst, id []byte, names func(yield func(string) bool), screens []Screened) []byte {
	dst = appendID(append(dst, `{"t":"topics"`...), id)
	dst = append(dst, `,"topics":[`...)
	for name := range names {
		dst = AppendName(dst, name)
	}
	return append(appendScreens(append(dst, ']'), screens), '}')
}

// AppendInterval appends the news that the edge has changed a conn's window to ms
// milliseconds.
func AppendInterval(dst []byte, ms int, reason string) []byte {
	dst = appendInt(dst, `{"t":"interval","ms":`, ms)
	return append(appendText(dst, `,"reason":`, reason), '}')
}

// AppendResume appends the token that a client may resume with. It needs no escaping.
func AppendResume(dst []byte, token string) []byte {
	return append(append(append(dst, `{"t":"resume","token":"`...), token...), `"}`...)
}

// AppendAnnouncement appends what an operator has to say: a text of at most 1,024 bytes.
func AppendAnnouncement(dst []byte, text string) []byte {
	return append(appendText(dst, `{"t":"announcement","text":`, text), '}')
}

// AppendError appends the answer to a message that was refused as a whole.
func AppendError(dst []byte, e *CommandError) []byte {
	dst = appendID(append(dst, `{"t":"error"`...), e.ID)
	dst = appendInt(dst, `,"code":`, e.Code)
	if e.At > 0 {
		dst = appendInt(dst, `,"at":`, e.At-1)
	}
	return append(appendText(dst, `,"reason":`, Cut(e.Reason, ReasonMax)), '}')
}

// AppendPong appends the answer to a ping. now is in Unix milliseconds.
func AppendPong(dst []byte, ping *Command, now int64) []byte {
	switch ping.Word {
	case BareWord:
		return append(dst, "pong"...)
	case QuotedWord:
		return append(dst, `"pong"`...)
	}
	dst = appendID(append(dst, `{"t":"pong"`...), ping.ID)
	return append(appendInt(dst, `,"ts":`, now), '}')
}

// Heartbeat is what a heartbeat tells apart: a quiet market, a feed that is down, and an
// edge that is behind.
type Heartbeat struct {
	Now    int64 // Unix milliseconds.
	FeedUp bool
	Tick   int64 // When the newest tick of any topic came in, in Unix milliseconds; 0 for none.
	Lag    int64 // How far the edge is behind its feed, in milliseconds.
}

// Append appends the payload of the heartbeat.
func (h *Heartbeat) Append(dst []byte) []byte {
	dst = appendInt(dst, `{"t":"heartbeat","ts":`, h.Now)
	dst = append(append(dst, `,"feed":`...), feedState[h.FeedUp]...)
	if h.Tick > 0 {
		dst = appendInt(dst, `,"tick":`, h.Tick)
	}
	return append(appendInt(dst, `,"lag":`, h.Lag), '}')
}

// Feed is the news that a feed is up, or down.
type Feed struct {
	Up     bool
	Since  int64  // Unix milliseconds.
	Topics string // The patterns of its topics. Empty if it serves all, or those that no other does.
}

// Append appends the payload of the news.
func (f *Feed) Append(dst []byte) []byte {
	dst = append(append(dst, `{"t":"feed","state":`...), feedState[f.Up]...)
	dst = appendInt(dst, `,"since":`, f.Since)
	if f.Topics != "" {
		dst = appendText(dst, `,"topics":`, f.Topics)
	}
	return append(dst, '}')
}

var feedState = map[bool]string{true: `"up"`, false: `"down"`}

// AppendStaleHead appends the payload of the news that topics are stale, up to their
// names. Those follow with [AppendName], then [NamesEnd]. now is in Unix milliseconds. A code
// of 0 is for topics that are silent; the reason is left out too.
func AppendStaleHead(dst []byte, now int64, code int, reason string) []byte {
	dst = appendInt(dst, `{"t":"stale","ts":`, now)
	if code > 0 {
		dst = appendText(appendInt(dst, `,"code":`, code), `,"reason":`, reason)
	}
	return append(dst, `,"topics":[`...)
}

// AppendName appends the name of one topic, and a comma if it is not the first.
func AppendName(dst []byte, name string) []byte {
	if dst[len(dst)-1] != '[' {
		dst = append(dst, ',')
	}
	return appendString(dst, name)
}

// NamesEnd ends the names, and the payload where they are the last of it.
const NamesEnd = "]}"

// UnsubscribedHead is the payload of the news that the edge has taken topics away from a conn,
// up to their names. Those follow with [AppendName], at most [UnsubscribedMax], and then
// [AppendUnsubscribedEnd].
const UnsubscribedHead = `{"t":"unsubscribed","topics":[`

// UnsubscribedMax bounds the names in one such message. With names of 64 bytes that is 34 KB.
const UnsubscribedMax = 512

// AppendUnsubscribedEnd ends the payload, with the reason.
func AppendUnsubscribedEnd(dst []byte, reason string) []byte {
	return append(appendText(dst, `],"reason":`, reason), '}')
}

// AppendBye appends the message that precedes a close of ours. retryMS of 0 leaves
// the advice out.
func AppendBye(dst []byte, code Code, reason string, retryMS int) []byte {
	dst = appendInt(dst, `{"t":"bye","code":`, code)
	dst = appendText(dst, `,"reason":`, reason)
	if retryMS > 0 {
		dst = appendInt(dst, `,"retry_ms":`, retryMS)
	}
	return append(dst, '}')
}

// AppendSnapshotHead appends the payload of a snapshot up to its first row. Rows
// follow with commas between them, then [RowsEnd]. now is in Unix milliseconds.
func AppendSnapshotHead(dst []byte, now int64) []byte {
	return append(appendInt(dst, `{"t":"snapshot","ts":`, now), `,"d":[`...)
}

// AppendUpdateHead is the same for an update.
func AppendUpdateHead(dst []byte, now int64) []byte {
	return append(appendInt(dst, `{"t":"update","ts":`, now), `,"d":[`...)
}

// RowsEnd ends the payload of a snapshot or an update.
const RowsEnd = "]}"

// appendInt appends a number behind its key.
func appendInt[N int | int64 | Code](dst []byte, key string, n N) []byte {
	return strconv.AppendInt(append(dst, key...), int64(n), 10)
}

// appendText appends a JSON string behind its key.
func appendText(dst []byte, key, s string) []byte { return appendString(append(dst, key...), s) }

func appendID(dst, id []byte) []byte {
	if id == nil {
		return dst
	}
	return append(append(dst, `,"id":`...), id...)
}

// appendString appends s as a JSON string. Bytes that are not UTF-8 are replaced,
// so the error is of no interest.
func appendString(dst []byte, s string) []byte {
	dst, _ = jsontext.AppendQuote(dst, s)
	return dst
}

// Cut shortens s to at most n bytes, at a rune.
func Cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
