document.querySelectorAll("table.sorted").forEach((table) => {
  const body = table.tBodies[0];
  const value = (row, at) => row.cells[at].textContent.trim().replace("\u2212", "-");
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, at) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const text = head.classList.contains("text");
      const order = (one, other) => {
        const [a, b] = [value(one, at), value(other, at)];
        if (text) return a.localeCompare(b, undefined, { numeric: true });
        const [x, y] = [parseFloat(a), parseFloat(b)];
        return (Number.isNaN(x) - Number.isNaN(y)) || x - y;
      };
      const rows = [...body.rows].sort(order);
      body.append(...(up ? rows : rows.reverse()));
    });
  });
});
