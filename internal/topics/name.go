package topics

// NameMax bounds a topic name, in bytes. Exchange symbols with a prefix and an
// interval, such as "binance:kline:1m:BTC-USDT", stay far below it.
const NameMax = 64

// ValidName reports whether name may be subscribed: 1 to [NameMax] bytes of
// A-Z a-z 0-9 . _ : / -. None of these needs escaping in JSON, in a URL query or
// in a Redis channel pattern, which is what lets a name be copied everywhere as it
// is.
func ValidName[T string | []byte](name T) bool {
	if len(name) == 0 || len(name) > NameMax {
		return false
	}
	for i := 0; i < len(name); i++ {
		if !nameByte[name[i]] {
			return false
		}
	}
	return true
}

var nameByte = func() (ok [256]bool) {
	for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:/-" {
		ok[c] = true
	}
	return ok
}()
