// A reader of events with Node's fetch alone: prints the name and the data of each as a line of JSON.
const response = await fetch(process.argv[2]);
if (!response.ok) throw new Error(`HTTP ${response.status}`);
let rest = '';
for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
  const blocks = (rest + chunk).split('\n\n');
  rest = blocks.pop();
  for (const block of blocks) {
    const e = {type: 'message'};
    for (const line of block.split('\n')) {
      if (line.startsWith('event: ')) e.type = line.slice(7);
      if (line.startsWith('data: ')) e.data = e.data === undefined ? line.slice(6) : e.data + '\n' + line.slice(6);
    }
    if (e.data !== undefined) console.log(JSON.stringify(e));
  }
}
