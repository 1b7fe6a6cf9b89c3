// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"tickedge/internal/app"
	"tickedge/internal/doctor"
	"tickedge/internal/flags"
	"tickedge/internal/loop"
)

const doctorHelp = `edge doctor says how many connections this host can hold, what limits them, and
which lines to change so that it can hold -max-conns.

  edge doctor                      how many can be held
  edge doctor -max-conns 100000    what is missing for that many
  edge doctor -json                the same for machines

It takes all flags of edge and their environment variables, and changes nothing. The
limit of open files is that of this shell: run it as the edge runs, for instance as
ExecStartPre= of its unit or in its container. See docs/TUNING.md.

Exit code: 0 enough, or no goal given; 1 -max-conns can't be held; 2 a flag is wrong.
`

// examine is the sub-command doctor. It returns the exit code.
func examine(args []string, stdout, stderr io.Writer) int {
	c := newConfig()
	asJSON := c.flags.Bool("json", false, "print JSON")
	c.flags.OnlyArgs("json")
	err := c.read(args)
	if flags.Asked(err) {
		return tell(stdout, err, func(w io.Writer) { fmt.Fprint(w, doctorHelp) })
	}
	// The edge refuses a maximum that this host can't hold. To the doctor that is an answer
	// and no mistake, so it does not fill in what the host allows.
	if err = c.flags.Locate(c.flags.Conceal(errors.Join(err, c.validate()), args)); err != nil {
		return misused(stderr, "edge doctor", c, err)
	}
	warn(stderr, "edge doctor", c)
	if runtime.GOOS != "linux" {
		fmt.Fprintln(stderr, "edge doctor: it only knows Linux, and this is", runtime.GOOS)
		return app.Failed
	}
	// The edge raises its limit of files before it looks at it, so the doctor does the
	// same before it reads the host.
	limit, err := loop.FileLimit()
	host := doctor.ReadHost(os.DirFS("/"))
	if err == nil && host.FilesHard == doctor.Unknown {
		host.FilesHard = doctor.Amount(min(limit, uint64(doctor.Unlimited)))
	}
	report := doctor.Assess(host, doctor.Goal{
		Conns:    int64(c.loop.MaxConns),
		Loops:    c.loop.Loops,
		Reserve:  int64(c.fileReserve()),
		Interval: c.loop.Shard.Interval,
	})
	if *asJSON {
		out := json.NewEncoder(stdout)
		out.SetEscapeHTML(false)
		out.SetIndent("", "  ")
		err = out.Encode(report)
	} else {
		err = report.WriteText(stdout)
	}
	if err != nil {
		fmt.Fprintln(stderr, "edge doctor:", err)
		return app.Failed
	}
	if !report.Enough {
		return app.Failed
	}
	return app.OK
}
