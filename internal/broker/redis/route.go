package redis

import "strings"

// match reports whether pattern, in which * stands for any run of characters, matches
// all of topic.
func match(pattern, topic string) bool {
	head, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == topic
	}
	if !strings.HasPrefix(topic, head) {
		return false
	}
	topic = topic[len(head):]
	for {
		var part string
		part, rest, star = strings.Cut(rest, "*")
		if !star {
			return strings.HasSuffix(topic, part)
		}
		at := strings.Index(topic, part)
		if at < 0 {
			return false
		}
		topic = topic[at+len(part):]
	}
}

// scope is the patterns of a source as they are shown, "" for the one that takes the
// rest.
func scope(patterns []string) string { return strings.Join(patterns, ",") }
