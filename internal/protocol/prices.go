// SPDX-License-Identifier: Apache-2.0

package protocol

// What is said by plain HTTP, beside rows: those stand as in any message.

// PricesHead begins the answer to a request for several topics. Rows follow with commas between
// them, then [PricesMissing], then what [Missing.Append] appends, and [NamesEnd].
const (
	PricesHead    = `{"d":[`
	PricesMissing = `],"missing":[`
)

// Missing are topics of a request that have no row in its answer. Names have as much room as
// those of an [Ack].
type Missing struct{ room int }

// Codes of topics without a row, beside those of rejected ones.
const (
	ErrNoValue = 404 // Its source has said that there is none.
	ErrNotNow  = 503 // It is not known, or can't be had now.
)

// NewMissing makes those of one answer to a client that may name so many topics.
func NewMissing(maxTopics int) Missing { return Missing{MessageMax(maxTopics)} }

// Append appends one of them, of which the code alone is told, and a comma if it is not the first.
func (m *Missing) Append(dst []byte, r Rejected) []byte {
	if dst[len(dst)-1] != '[' {
		dst = append(dst, ',')
	}
	dst, m.room = r.appendName(append(dst, '{'), m.room)
	return append(appendInt(dst, `,"code":`, r.Code), '}')
}

// AppendProblem appends an error (RFC 9457) whose code is one of docs/PROTOCOL.md.
func AppendProblem(dst []byte, status int, title string, code int, detail string) []byte {
	dst = appendText(dst, `{"title":`, title)
	dst = appendInt(dst, `,"status":`, status)
	dst = appendInt(dst, `,"code":`, code)
	return append(appendText(dst, `,"detail":`, Cut(detail, ReasonMax)), '}')
}

// NamesHead begins the answer to a request for names, which follow with [AppendName], then what
// AppendNamesEnd appends.
const NamesHead = `{"topics":[`

// AppendNamesEnd ends the names. next is where to go on, empty if these were the last ones. truncated
// says that the source may have more than are listed, on any page.
func AppendNamesEnd(dst []byte, next string, truncated bool) []byte {
	dst = append(dst, ']')
	if next != "" {
		dst = appendText(dst, `,"next":`, next)
	}
	if truncated {
		dst = append(dst, `,"truncated":true`...)
	}
	return append(dst, '}')
}
