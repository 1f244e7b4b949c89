// The e-stop, alone in its file: it works when nothing else on the page does. Without scripts it
// is a plain form.
"use strict";

function show(text, mild) {
  const banner = document.getElementById("banner");
  banner.textContent = text;
  banner.hidden = !text;
  banner.classList.toggle("mild", Boolean(mild));
}

async function estop() {
  const button = document.getElementById("estop");
  button.textContent = "stopping …";
  try {
    const answer = await fetch("estop", { method: "POST", body: "{}" });
    const { done, said } = await answer.json();
    button.dataset.confirmed = String(done);
    show(said, done);
  } catch (error) {
    button.dataset.confirmed = "false";
    show("E-STOP NOT CONFIRMED: the view does not answer. Use the hardware stop!");
  }
  button.textContent = "E-STOP";
}

document.addEventListener("submit", (event) => {
  if (event.target.id === "estop-form") {
    event.preventDefault();
    estop();
  }
}, true);

document.addEventListener("keydown", (event) => {
  if (event.code === "Space" && !event.repeat) {
    event.preventDefault();
    event.stopPropagation();
    estop();
  }
}, true);
// a focused button would be clicked by the same key's release
document.addEventListener("keyup", (event) => {
  if (event.code === "Space") event.preventDefault();
}, true);
