// A text that another page of ours opens in SQL is run at once. One that came by a link is not: whoever follows a link looks first.
let text: string | undefined;

export function handOff(sql: string): void {
  text = sql;
}

export function takeHandoff(): string | undefined {
  const taken = text;
  text = undefined;
  return taken;
}
