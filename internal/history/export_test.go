// SPDX-License-Identifier: Apache-2.0

package history

// Flushing is how many flushes wait.
func (w *Writer) Flushing() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.flushes)
}
