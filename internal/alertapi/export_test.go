// SPDX-License-Identifier: Apache-2.0

package alertapi

import "time"

// SetReadTime shortens the time that a request may take to come.
func (s *Server) SetReadTime(d time.Duration) { s.readTime = d }
